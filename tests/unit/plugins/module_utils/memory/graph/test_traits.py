# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What an architecture does that its tensors do not show."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import kinds, traits

from tests.oracle import table


def test_traits_follow_from_the_architecture_and_from_its_tensors():
    llama, gemma, mamba = (
        traits.traits_of(table.facts(name), kinds.kinds_of(table.facts(name)))
        for name in ("llama3.1-8b", "gemma4-e4b", "mamba-2.8b")
    )
    assert all(found.known for found in (llama, gemma, mamba))
    assert gemma.gemma4 and gemma.windowed and gemma.scaled_input and not llama.gemma4 and not mamba.windowed


def test_only_baichuan_7b_rotates_its_queries():
    model = table.facts("baichuan2-7b")
    assert traits.traits_of(model, kinds.kinds_of(model)).no_positions is None
    larger = dataclasses.replace(model, block_count=40)  # the 13B; llama-server of build 11669 has no "rope" there
    assert traits.traits_of(larger, kinds.kinds_of(model)).no_positions == "all"
