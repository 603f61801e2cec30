# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Blocks with recurrent state."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import recurrent
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


@pytest.mark.parametrize(
    "name, layer, make, operation",
    [
        ("mamba-2.8b", 0, recurrent.mamba, "ssm_scan"),
        ("granite4-h-1b", 0, recurrent.mamba2, "ssm_scan"),
        ("qwen3-next-80b", 0, recurrent.delta_net, "delta_net"),
        ("qwen3.5-27b", 0, recurrent.delta_net, "delta_net"),
        ("lfm2-1.2b", 0, recurrent.short_convolution, "ssm_conv"),
    ],
)
def test_a_block_reads_its_states_and_writes_them_back(name, layer, make, operation):
    b = builder(name, Load(4096, parallel=2))
    value = b.graph.given((b.width, b.tokens))
    out = b.graph.expand(make(b, value, b.kinds[layer], layer))
    assert out.shape[:2] == (b.width, b.tokens)
    states = 1 if make is recurrent.short_convolution else 2
    assert operation in operations(b) and operations(b).count("cpy") == 2 * states
