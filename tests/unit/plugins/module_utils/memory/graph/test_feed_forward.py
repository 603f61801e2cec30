# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The feed-forward part of a block."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import feed_forward

from tests.oracle import table
from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


def made(b, layer=0):
    value = b.graph.given((b.width, b.tokens))
    return b.graph.expand(feed_forward.forward(b, value, b.kinds[layer], layer))


def test_a_dense_block_has_three_products():
    b = builder("llama3.1-8b")
    assert made(b).shape[:2] == (b.width, b.tokens)
    assert operations(b) == ["mul_mat", "mul_mat", "glu", "mul_mat"]


def test_experts_are_chosen_and_summed():
    b = builder("mixtral-8x7b")
    assert made(b).shape[:2] == (b.width, b.tokens)
    assert operations(b).count("mul_mat_id") == 3 and operations(b).count("add") == b.used_experts - 1


def test_a_number_of_experts_that_no_model_has_is_an_error():
    b = builder(None, facts=dataclasses.replace(table.facts("mixtral-8x7b"), expert_used_count=2**31))
    with pytest.raises(ValueError, match="experts"):
        made(b)
