# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The graph of one batch."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import compute_graph, kinds
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import table
from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


def test_a_graph_ends_with_the_logits():
    b = builder("llama3.1-8b", Load(4096, outputs=1))
    graph = compute_graph.graph_of(b, list(range(32)))
    assert graph.nodes[-1].shape[:2] == (b.vocabulary, 1) and graph.nodes[-1].kept
    assert operations(b).count("flash_attn") == 32


def test_buffers_are_of_every_device_and_of_the_host():
    model = table.facts("llama3.1-8b")
    found, load = kinds.kinds_of(model), Load(4096)
    one = compute_graph.buffers(model, found, [0] * 33, 1, load)
    two = compute_graph.buffers(model, found, [0] * 16 + [1] * 17, 2, load)
    assert len(one) == 2 and len(two) == 3 and all(size > 0 for size in one + two)


def test_an_engine_that_embeds_makes_no_logits():
    b = builder("qwen3-embedding-8b", Load(4096, embedding=True))
    graph = compute_graph.graph_of(b, list(range(36)))
    tokens, text = graph.nodes[-2:]
    assert tokens.shape[:2] == (b.width, 512) and text.shape[:2] == (b.width, 1)
    assert tokens.kept and text.kept


@pytest.mark.parametrize("pooling, last, given", [(None, "mul", None), (1, "mul_mat", (512, 2)), (3, "get_rows", (2,))])
def test_tokens_are_pooled_as_the_model_says(pooling, last, given):
    model = table.facts("qwen3-embedding-8b")
    known = {key: value for key, value in model.hyperparameters.items() if key != "pooling_type"}
    model = dataclasses.replace(model, hyperparameters=dict(known, **({"pooling_type": pooling} if pooling else {})))
    b = builder(None, Load(4096, parallel=2, embedding=True), facts=model)
    graph = compute_graph.graph_of(b, list(range(36)))
    assert graph.nodes[-1].operation == last
    assert given is None or graph.inputs[-1].shape[: len(given)] == given


# Answers of llama-server of build 11669 (engine-table.jsonl): what small values between the large ones do to a buffer.
@pytest.mark.parametrize(
    "name, load, devices, mib",
    [
        # Full and windowed layers have matrices of their own for a quantized cache.
        (
            "llama4-maverick",
            Load(4096, ubatch=2048, cache_type="q4_0", unified=True, outputs=1),
            (13, 27, 9),
            [536, 536],
        ),
        # A view ends with what it shows, so that a copy of it can be written over.
        ("gemma3n-e4b", Load(8192, 4, 2048, "q8_0", outputs=4), (9, 14, 13), [566, 664]),
        # The numbers of the tokens that are pooled lie behind the mask until the end.
        ("qwen3-embedding-8b", Load(131072 // 3, 3, 1024, embedding=True), (23, 12, 2), [262, 213]),
    ],
)
def test_small_values_lie_where_the_engine_has_them(name, load, devices, mib):
    model = table.facts(name)
    on_host, first, second = devices
    places = [None] * on_host + [0] * first + [1] * second
    assert len(places) == model.block_count + 1
    sizes = compute_graph.buffers(model, kinds.kinds_of(model), places, 2, load)
    assert [size // 1024**2 for size in sizes[:2]] == mib


def test_streams_of_a_narrow_block_lie_as_far_apart_as_those_of_the_widest():
    # llama-server of build 11669: gemma4 without flash attention, whose last blocks use the cache of another device.
    model = table.facts("gemma4-e4b")
    load = Load(1024, parallel=2, flash_attention=False, outputs=2)
    devices = [None] * 11 + [0] * 13 + [1] * 19
    sizes = compute_graph.buffers(model, kinds.kinds_of(model), devices, 2, load)
    assert [size // 1024**2 for size in sizes[:2]] == [96, 182]
