# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The figures that the estimators read."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30.dimensions import Dimensions

from tests.unit.plugins.module_utils.releases.loads import model


def test_widths_are_those_of_the_header_or_follow_from_the_heads():
    facts = model("llama3.1-8b")
    assert (Dimensions(facts).key, Dimensions(facts).value) == (128, 128)
    bare = Dimensions(dataclasses.replace(facts, key_length=None, value_length=64))
    assert (bare.head_width, bare.key, bare.value) == (128, 128, 64)


def test_the_gate_of_the_experts_is_a_third_of_them_where_the_header_is_not_at_hand():
    facts = model("mixtral-8x7b")
    layers = [dataclasses.replace(layer, expert_bytes=3000) for layer in facts.layers]
    found = Dimensions(dataclasses.replace(facts, estimator=None, expert_count=8, layers=layers))
    assert (found.gate_expert_bytes, found.has_experts) == (1000, True)
    assert Dimensions(dataclasses.replace(facts, estimator=None, expert_count=None)).gate_expert_bytes is None


def test_tied_embeddings_count_as_the_output_layer():
    facts = dataclasses.replace(model("llama3.1-8b"), output_bytes=5, embedding_bytes=7)
    found = [Dimensions(dataclasses.replace(facts, tied_embeddings=tied)) for tied in (False, True)]
    assert [one.output_bytes for one in found] == [5, 12]
