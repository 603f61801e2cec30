# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Values of a graph: shapes and order."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph.tensors import F16, F32, Graph


def test_values_know_their_extent():
    graph = Graph()
    source = graph.given((8, 4, 2), F32)
    assert source.bytes == 8 * 4 * 2 * F32
    assert graph.transpose(source).bytes == source.bytes
    assert graph.view(source, (2, 4, 2), source.strides).bytes == source.bytes - 6 * F32
    assert graph.given((3, 5), F16).bytes == 30


def test_a_view_is_as_long_as_what_it_shows():
    graph = Graph()
    source = graph.given((8, 4, 6), F32)
    part = graph.view(source, (8, 4, 2), source.strides)
    assert part.strides == graph.given((8, 4, 2), F32).strides and source.strides[3] == 8 * 4 * 6 * F32
    assert graph.view(source, (3, 4), source.strides).strides == (4, 32, 128, 128)


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
