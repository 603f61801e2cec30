# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Tensors of the blocks: from the header, or made up."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import compute
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import kinds
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Adapter

from tests.oracle import table


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


def test_a_model_with_an_adapter_does_not_share_its_graph():
    plain = table.facts("llama3.1-8b")
    found = kinds.kinds_of(plain)
    adapted = dataclasses.replace(plain, adapters=[Adapter(layer_bytes={0: 100}, rank=8)])
    assert hash(kinds.mark(adapted, found)) and kinds.mark(adapted, found) != kinds.mark(plain, found)
