# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Encoders of embedding models."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import compute_graph, encoder

from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


def test_an_encoder_caches_nothing_and_ends_with_embeddings():
    b = builder("nomic-embed-text")
    graph = compute_graph.graph_of(b, list(range(b.model.block_count)))
    assert operations(b).count("set_rows") == 1  # that of embeddings from outside, which is always reserved
    assert graph.nodes[-1].shape[0] == b.width and graph.nodes[-1].kept


def test_positions_are_added_where_the_model_has_embeddings_of_them():
    b = builder("nomic-embed-text")
    value = b.graph.given((b.width, b.tokens))
    b.graph.expand(encoder.with_token_types(b, value, False))
    assert "get_rows" not in operations(b)
    b.graph.expand(encoder.with_token_types(b, value, True))
    assert operations(b).count("get_rows") == 1
