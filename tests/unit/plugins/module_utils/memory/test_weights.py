# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which layer is on which device, and the bytes of its weights."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import MIB
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import weights
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import models, table


def test_layers_are_assigned_by_cumulative_share():
    assert weights.layer_counts(weights.assign_layers([1, 1], 49), 2) == [25, 24]
    assert weights.layer_counts(weights.assign_layers([60, 23], 49), 2) == [36, 13]
    assert weights.layer_counts(weights.assign_layers([24, 25], 49), 2) == [24, 25]
    assert weights.assign_layers([1], 5, 2) == [None, None, None, 0, 0]
    assert weights.assign_layers([], 3) == [None] * 3


@settings(max_examples=60)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(1, 130), st.integers(0, 140))
def test_every_layer_is_placed_once_and_in_order(shares, slots, offloaded):
    placed = weights.assign_layers(shares, slots, offloaded)
    assert len(placed) == slots
    assert sum(weights.layer_counts(placed, len(shares))) == min(slots, offloaded)
    on_gpu = [device for device in placed if device is not None]
    assert on_gpu == sorted(on_gpu)
    assert placed[slots - len(on_gpu) :] == on_gpu


def test_tied_embeddings_are_loaded_twice():
    model = models.facts("llama3.2-3b")
    assert model.tied_embeddings
    assert weights.weights_by_layer(model)[-1] == model.output_bytes + model.embedding_bytes
    assert weights.weights_by_device(model, weights.assign_layers([1], 29), 1)[1] == model.embedding_bytes


# MiB of weights of llama-server (build 11669) where nothing is on a GPU: of its rows Host and CPU_REPACK together.
@pytest.mark.parametrize(
    "name, mib",
    [
        ("gemma3-1b", 853 + 71),
        ("llama3.2-1b", 1252),
        ("qwen2.5-0.5b", 435 + 28),
        ("llama3.1-8b", 1481 + 3204),  # has an output matrix
        ("qwen3-0.6b", 129 + 288),  # the embedding has 4 bits a weight: the output layer has one in another order
        ("gemma3n-e4b", 2029 + 2091),
        ("gemma3-27b", 3732 + 12450),
        ("command-r-35b", 5063 + 16065),
        ("bge-m3", 1097),  # has no output layer
    ],
)
def test_tied_embeddings_on_the_host(name, mib):
    facts = table.facts(name)
    nowhere = weights.assign_layers([], facts.block_count + 1)
    assert 0 <= weights.weights_by_device(facts, nowhere, 0)[1] / MIB - mib < 3  # two figures, cut off


def test_weights_that_were_moved_count_where_they_are():
    model = models.facts("mixtral-8x7b")
    slots = weights.assign_layers([1, 1], 33, 32)
    (first, second), host = weights.weights_by_device(model, slots, 2)
    size = model.layers[20].expert_bytes
    # Block 20 is on the second device; block 0 is on the host, where nothing of it can be moved from.
    moved = {20: (size, 0), 21: (size, weights.HOST), 0: (size, 1)}
    assert weights.weights_by_device(model, slots, 2, moved) == ([first + size, second - 2 * size], host + size)
    assert weights.on_host(moved) and not weights.on_host({20: (size, 0)}) and not weights.on_host(None)


def test_experts_of_heads_that_stay_on_the_host():
    """MiB of llama-server (build 11669) with LLAMA_ARG_CPU_MOE: 1,239 without speculation, 1,263 with draft-mtp."""
    facts = table.facts("qwen3.5-35b-a3b-mtp")
    moved = {layer.index: (layer.expert_bytes, weights.HOST) for layer in facts.layers if layer.expert_bytes}
    assert facts.block_count - 1 in moved
    everywhere = [0] * (facts.block_count + 1)
    (size,), host = weights.weights_by_device(facts, everywhere, 1, moved)
    (heads,), heads_on_host = weights.heads_by_device(facts, everywhere, 1, moved)
    assert 1239 <= size / MIB < 1240 and 1263 <= (size + heads) / MIB < 1264
    every = weights.weights_by_device(facts, everywhere, 1, heads=True)
    assert size + heads + host + heads_on_host == every[0][0] + every[1]
