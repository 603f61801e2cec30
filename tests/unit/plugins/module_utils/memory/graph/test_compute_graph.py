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
