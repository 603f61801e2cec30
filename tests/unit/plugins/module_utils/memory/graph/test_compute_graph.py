# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The graph of one batch."""

from __future__ import annotations

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
    assert graph.nodes[-1].shape[:2] == (b.width, 512) and graph.nodes[-1].kept


def test_streams_of_a_narrow_block_lie_as_far_apart_as_those_of_the_widest():
    # llama-server of build 11669: gemma4 without flash attention, whose last blocks use the cache of another device.
    model = table.facts("gemma4-e4b")
    load = Load(1024, parallel=2, flash_attention=False, outputs=2)
    devices = [None] * 11 + [0] * 13 + [1] * 19
    sizes = compute_graph.buffers(model, kinds.kinds_of(model), devices, 2, load)
    assert [size // 1024**2 for size in sizes[:2]] == [96, 182]
