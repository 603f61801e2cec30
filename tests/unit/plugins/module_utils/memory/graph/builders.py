# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Builders of graphs for models of the oracle, all layers on one device unless said otherwise."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import kinds
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph.graph_builder import Builder
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import table


def builder(name, load=None, layers=None, devices=1, moved=None, facts=None):
    model = facts or table.facts(name)
    layers = [0] * (model.block_count + 1) if layers is None else layers
    return Builder(model, kinds.kinds_of(model), layers, devices, load or Load(4096), moved)


def operations(b):
    """Names of the operations of a graph that compute something, in their order."""
    return [node.operation for node in b.graph.nodes if not node.looks]
