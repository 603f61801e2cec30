# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Graphs of fewer blocks have the buffers of whole ones."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import weights
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import compute_graph, kinds, repeats, reserve
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph.graph_builder import Builder
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import table
from tests.unit.plugins.module_utils.memory.graph.builders import builder

EVERY = 24  # rows of the oracle; all 1,789 were compared once, each with and without op_offload: none differs


def sizes(row, load, shortened):
    """(bytes of the buffers of a row of the oracle, blocks of its graph)."""
    model, shares = table.facts(row["model"]), row["tensor_split"] or row["devices_mib"]
    layers = None if row["n_gpu_layers"] > model.block_count else row["n_gpu_layers"]
    places = weights.assign_layers(shares, model.block_count + 1, layers)
    b = Builder(model, kinds.kinds_of(model), places, len(shares), load)
    order = [layer for layer, kind in enumerate(b.kinds) if kind is not None]
    order = repeats.needed(b, order) if shortened else order
    compute_graph.graph_of(b, order)
    pipeline = len(shares) > 1 and None not in places
    return reserve.reserve(b.graph, len(shares), pipeline, offload=load.op_offload), len(order)


def test_buffers_are_those_of_all_blocks():
    blocks = needed = 0
    for number, row in enumerate(table.rows()[::EVERY]):
        load = dataclasses.replace(table.load_of(row, True), op_offload=bool(number % 2))
        whole, count = sizes(row, load, False)
        short, fewer = sizes(row, load, True)
        assert short == whole, row
        blocks, needed = blocks + count, needed + fewer
    assert needed < 0.7 * blocks


def test_models_with_recurrent_state_keep_all_blocks():
    for name in ("falcon-h1-7b", "mamba2-130m", "qwen3-next-80b"):
        count = table.facts(name).block_count
        assert repeats.needed(builder(name), list(range(count))) == list(range(count))


def test_pairs_of_repetitions_are_left_out_after_the_first_four():
    alike = builder("llama3.1-8b")
    assert repeats.needed(alike, list(range(32))) == [0, 1, 2, 3]
    assert repeats.needed(alike, list(range(7))) == [0, 1, 2, 3, 6]
    two = builder("llama3.1-8b", layers=[0] * 16 + [1] * 17, devices=2)
    assert repeats.needed(two, list(range(32))) == [0, 1, 2, 3, 16, 17, 18, 19]


def test_blocks_that_repeat_together_stay_together():
    found = repeats.needed(builder("gemma3-27b"), list(range(62)))
    assert found == list(range(24)) + list(range(60, 62)) or len(found) < 40
    assert builder("gemma3-27b").windowed[found[-1]] == builder("gemma3-27b").windowed[61]


def test_blocks_with_weights_elsewhere_are_not_alike():
    model = table.facts("mixtral-8x7b")
    b = builder("mixtral-8x7b", moved={20: (model.layers[20].expert_bytes, None)})
    assert 20 in repeats.needed(b, list(range(32)))


def test_models_with_inputs_per_layer_keep_all_blocks():
    assert repeats.needed(builder("gemma3n-e4b", Load(4096)), list(range(35))) == list(range(35))
