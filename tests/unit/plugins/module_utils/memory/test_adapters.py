# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where the bytes of LoRA adapters lie."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import adapters, estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Adapter

from tests.oracle import table

ONE = Adapter(layer_bytes={0: 10, 1: 20, 31: 40}, other_bytes=100, embedding_bytes=1000, rank=8)


def model(*found):
    return dataclasses.replace(table.facts("llama3.1-8b"), adapters=list(found))


def test_tensors_lie_beside_those_that_they_change():
    places = [0] * 16 + [1] * 17
    assert adapters.adapters_by_device(model(ONE), places, 2) == ([30, 140], 1000)
    assert adapters.adapters_by_device(model(ONE, ONE), places, 2) == ([60, 280], 2000)


def test_those_of_layers_on_the_host_are_there():
    assert adapters.adapters_by_device(model(ONE), [None] * 20 + [0] * 13, 1) == ([140], 1030)


def test_a_model_without_adapters_has_none():
    assert adapters.adapters_by_device(model(), [0] * 33, 1) == ([0], 0)


def test_a_block_that_the_model_does_not_have_counts_with_the_output():
    assert adapters.adapters_by_device(model(Adapter(layer_bytes={77: 5})), [0] * 20 + [1] * 13, 2) == ([0, 5], 0)


def test_the_estimate_has_them_apart_from_what_the_engine_s_fit_counts():
    with_one = estimate.estimate(model(ONE), [1, 1], Load(8192))
    without = estimate.estimate(model(), [1, 1], Load(8192))
    assert [device.adapter_bytes for device in with_one.devices] == [30, 140]
    assert with_one.host_bytes == without.host_bytes + 1000
    for mine, theirs in zip(with_one.devices, without.devices):
        assert mine.engine_bytes - mine.compute_bytes == theirs.engine_bytes - theirs.compute_bytes
        assert mine.compute_bytes >= theirs.compute_bytes


def test_the_products_with_an_adapter_make_the_compute_buffer_grow():
    plain = table.facts("qwen3-0.6b")
    changed = dataclasses.replace(plain, adapters=[Adapter(layer_bytes=dict.fromkeys(range(28), 1), rank=256)])
    load = Load(4096, ubatch=1024, outputs=1)
    before, after = (estimate.estimate(facts, [1, 1], load).devices for facts in (plain, changed))
    grown = [more.compute_bytes - less.compute_bytes for more, less in zip(after, before)]
    assert grown == [4 * 1024 * 1024] * 2  # llama-server of build 11669: 3.9 MiB (rank 128)
