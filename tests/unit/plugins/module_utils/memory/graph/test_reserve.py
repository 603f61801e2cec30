# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the scheduler and the allocator make of a graph."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import reserve
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph.tensors import F32, Graph

ROW = 1024 * F32  # one value of a token in these graphs, a multiple of the alignment


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
