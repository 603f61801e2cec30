# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a CUDA process holds beside the model."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import overhead

MIB = 1024 * 1024


def test_context_overhead_is_a_line_of_its_own():
    assert overhead.context_overhead("ampere")[0] == 298 * MIB
    assert overhead.context_overhead("Ada Lovelace")[0] == 470 * MIB
    assert overhead.context_overhead("something new")[0] == 457 * MIB
    assert overhead.context_overhead("ampere", 5)[0] == 5
