# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The graph of a batch in its parts: shapes, order, devices, and what the allocator makes of it."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import compute
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import kinds, reserve, traits
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph.tensors import F16, F32, Graph
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import models, table

ROW = 1024 * F32  # one value of a token in these graphs, a multiple of the alignment


def test_values_know_their_extent():
    graph = Graph()
    source = graph.given((8, 4, 2), F32)
    assert source.bytes == 8 * 4 * 2 * F32
    assert graph.transpose(source).bytes == source.bytes
    assert graph.view(source, (2, 4, 2), source.strides).bytes == source.bytes - 6 * F32
    assert graph.given((3, 5), F16).bytes == 30


def test_nodes_come_after_what_they_need_each_once():
    graph = Graph()
    given = graph.given((8,))
    first = graph.like("unary", given)
    second = graph.like("unary", given)
    both = graph.like("add", first, second)
    graph.expand(both)
    graph.expand(graph.like("add", both, first))
    assert [node.operation for node in graph.nodes] == ["unary", "unary", "add", "add"]
    assert graph.nodes[:3] == [first, second, both]


def test_holes_are_filled_best_first_and_joined():
    space = reserve.Space()
    places = [space.take(size) for size in (128, 512, 128, 256, 128)]
    space.give(places[1], 512)
    space.give(places[3], 256)
    assert space.take(256) == places[3]  # the hole that fits, not the first one
    assert space.take(128) == places[1]
    space.give(places[2], 128)
    assert space.holes[0] == [places[1] + 128, 512]  # the rest of the hole joined with its neighbour
    assert space.high == 128 + 512 + 128 + 256 + 128


def simple(kept=False, devices=(0, 0)):
    """Two matrices one after the other, each on a device."""
    graph = Graph()
    value = graph.matmul(1024, graph.given((1024,)), devices[0])
    value.kept = kept
    graph.expand(graph.like("unary", graph.matmul(1024, value, devices[1])))
    return graph


def test_memory_is_used_again_and_written_over():
    assert (
        reserve.reserve(simple(), 1, False)[0] == 2 * ROW
    )  # the second value lies where the input was, and its unary over it
    graph = Graph()
    value = graph.matmul(1024, graph.given((1024,)), 0)
    graph.expand(graph.like("add", graph.like("unary", value), value))
    assert (
        reserve.reserve(graph, 1, False)[0] == 2 * ROW
    )  # the unary cannot lie over a value that is needed again; the sum can, over the unary


def test_outputs_are_kept():
    assert reserve.reserve(simple(kept=True), 1, False)[0] == 2 * ROW
    graph = Graph()
    value = graph.matmul(1024, graph.given((1024,)), 0)
    value.kept = True
    for unused in range(3):
        value = graph.like("norm", value)
    graph.expand(value)
    assert reserve.reserve(graph, 1, False)[0] == 3 * ROW


@pytest.mark.parametrize("pipeline, expected", [(False, [2, 2]), (True, [4 + 1, 4 + 1])])
def test_values_that_cross_are_copied_four_times_in_a_pipeline(pipeline, expected):
    sizes = reserve.reserve(simple(devices=(0, 1)), 2, pipeline)
    assert sizes[:2] == [count * ROW for count in expected]


def test_kinds_are_shared_and_made_up_where_only_dimensions_are_known():
    real = table.facts("llama3.1-8b")
    found = kinds.kinds_of(real)
    assert len(found) == 32 and len({id(kind) for kind in found}) == 1
    bare = dataclasses.replace(real, layer_kinds=None)
    assert compute.compute_by_device(bare, [0] * 33, 1, Load(8192)) == compute.compute_by_device(
        real, [0] * 33, 1, Load(8192)
    )
    assert kinds.kinds_of(dataclasses.replace(real, layer_kinds=None, key_length=None)) == []


def test_blocks_that_predict_further_tokens_take_no_part():
    model = table.facts("glm4.5-air")
    assert kinds.kinds_of(model)[-1] is None and kinds.kinds_of(model)[-2] is not None


def test_moved_experts_switch_the_pipeline_off():
    model = models.facts("mixtral-8x7b")
    slots = [0] * 17 + [1] * 16
    moved = {20: (model.layers[20]["expert_bytes"], None)}
    there, here = (
        compute.compute_by_device(model, slots, 2, Load(8192)),
        compute.compute_by_device(model, slots, 2, Load(8192), moved=moved),
    )
    assert here != there and here[0] < there[0]


def test_answers_are_remembered_by_what_they_depend_on():
    model = table.facts("qwen3-14b")
    slots = [0] * 41
    small, large = (compute.compute_by_device(model, slots, 1, Load(4096, ubatch=ubatch))[0] for ubatch in (512, 1024))
    assert small < large
    wider = dataclasses.replace(model, vocab_size=2 * model.vocab_size)
    assert compute.compute_by_device(wider, slots, 1, Load(4096))[0] > small
    assert compute.compute_by_device(model, slots, 1, Load(4096))[0] == small


def test_traits_follow_from_the_architecture_and_from_its_tensors():
    llama, gemma, mamba = (
        traits.traits_of(table.facts(name), kinds.kinds_of(table.facts(name)))
        for name in ("llama3.1-8b", "gemma4-e4b", "mamba-2.8b")
    )
    assert all(found.known for found in (llama, gemma, mamba))
    assert gemma.gemma4 and gemma.windowed and gemma.scaled_input and not llama.gemma4 and not mamba.windowed
