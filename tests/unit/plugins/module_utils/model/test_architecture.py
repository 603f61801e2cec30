# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which blocks are windowed, recurrent or share a cache."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.model import architecture
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import ModelFacts

from tests.oracle import models, table


def test_windowed_blocks_follow_the_header_or_the_architecture():
    model = models.facts("llama4-scout")
    assert architecture.windowed_layers(models.facts("gpt-oss-20b"))[:4] == [True, False, True, False]
    assert architecture.windowed_layers(models.facts("gemma3-4b"))[:6] == [True] * 5 + [False]
    assert architecture.windowed_layers(
        dataclasses.replace(
            model, architecture="gemma3", sliding_window=1024, sliding_window_pattern=[True, False] * 24
        )
    )[:2] == [True, False]
    assert not any(architecture.windowed_layers(dataclasses.replace(model, architecture="phi3", sliding_window=2047)))


def test_a_hyperparameter_is_found_under_its_own_name_too():
    model = ModelFacts(kv_lora_rank=512, ssm={"state_size": 128}, hyperparameters={"rope.dimension_count": 64})
    names = ("attention.kv_lora_rank", "ssm.state_size", "rope.dimension_count", "expert_group_count")
    assert [architecture.hyperparameter(model, name) for name in names] == [512, 128, 64, None]


def test_blocks_at_the_end_use_the_cache_of_the_last_of_their_kind():
    model = table.facts("gemma3n-e4b")
    windowed = architecture.windowed_layers(model)
    first = model.block_count - architecture.shared_blocks(model)
    assert first == 20 and architecture.cache_owner(model, 7) == 7
    for index in range(first, model.block_count):
        owner = architecture.cache_owner(model, index)
        assert owner < first and windowed[owner] == windowed[index]
