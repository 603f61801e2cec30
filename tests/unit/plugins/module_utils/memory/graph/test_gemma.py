# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Blocks of gemma3n and gemma4."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import compute_graph, gemma

from tests.oracle import table
from tests.unit.plugins.module_utils.memory.graph.builders import builder


def test_the_versions_of_the_stream_end_in_one():
    b = builder("gemma3n-e4b")
    out = gemma.blocks_of(b, compute_graph.embedded, [0, 1])
    assert out.shape[:3] == (b.width, b.tokens, 1)


def test_gemma4_picks_the_rows_of_the_output_in_its_last_block():
    b = builder("gemma4-e4b")
    tokens = b.tokens
    b.wanted = 1
    assert gemma.blocks_of(b, compute_graph.embedded, [0, 1]).shape[:2] == (b.width, 1) and tokens > 1


def test_a_number_of_versions_that_no_model_has_is_an_error():
    facts = copy.deepcopy(table.facts("gemma3n-e4b"))
    for kind in facts.layer_kinds:
        kind["altup_router.weight"] = [kind["altup_router.weight"][0], 2**40]
    b = builder(None, facts=facts)
    with pytest.raises(ValueError, match="alternating"):
        gemma.blocks_of(b, compute_graph.embedded, [0])
