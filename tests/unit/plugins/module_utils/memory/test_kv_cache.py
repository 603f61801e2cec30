# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes of the KV cache and of recurrent states."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import kv_cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import models


@pytest.mark.parametrize(
    "cache_type, expected",
    [
        ("f16", 8192),
        ("f32", 16384),
        ("q8_0", 4352),
        ("q5_1", 3072),
        ("q5_0", 2816),
        ("q4_1", 2560),
        ("q4_0", 2304),
        ("iq4_nl", 2304),
    ],
)
def test_rows_of_the_cache_have_the_types_true_block_sizes(cache_type, expected):
    assert kv_cache.row_bytes(cache_type, 4096) == expected


def test_a_row_that_the_blocks_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="do not divide"):
        kv_cache.row_bytes("q8_0", 16)
    with pytest.raises(ValueError, match="unknown"):
        kv_cache.row_bytes("q9_9", 32)


def test_windowed_layers_keep_window_and_batch_only():
    model = models.facts("llama4-scout")
    sizes = kv_cache.kv_by_layer(model, Load(32768))
    per_cell = 2 * 8 * 128 * 2
    assert sizes[3] == 32768 * per_cell and sizes[0] == 8704 * per_cell
    assert [index for index, size in enumerate(sizes[:12]) if size == sizes[3]] == [3, 7, 11]


def test_slots_are_streams_of_their_own():
    model = models.facts("llama3.1-8b")
    assert kv_cache.cells(Load(1000, 3)) == (1024, 3)
    assert sum(kv_cache.kv_by_layer(model, Load(4096, 4))) == 4 * sum(kv_cache.kv_by_layer(model, Load(4096)))


def test_layers_without_attention_have_no_cache_and_recurrent_ones_a_state():
    model = models.facts("llama3.1-8b", head_count_kv=[8, 0] * 16)
    sizes = kv_cache.kv_by_layer(model, Load(4096))
    assert sizes[1] == 0 and sizes[0] == 4096 * 4096
    ssm = {"conv_kernel": 4, "inner_size": 1024, "state_size": 16, "group_count": 1, "time_step_rank": 32}
    sizes = kv_cache.kv_by_layer(dataclasses.replace(model, ssm=ssm), Load(4096, parallel=2))
    assert sizes[1] == 2 * 4 * (3 * (1024 + 2 * 16) + 16 * 1024)


def test_latent_attention_keeps_the_compressed_row():
    model = models.facts("llama3.1-8b", kv_lora_rank=512, key_length_mla=192, rope_dimension_count=64)
    assert kv_cache.kv_by_layer(model, Load(256))[0] == 256 * 576 * 2


def test_a_shared_stream_has_the_cells_of_all_slots_and_a_window_for_each():
    assert kv_cache.cells(Load(4096, 4, unified=True)) == (16384, 1)
    assert kv_cache.cells(Load(4096, 4, unified=True), 1024) == (4 * 1024 + 512, 1)
    assert kv_cache.cells(Load(4096, 4), 1024) == (1024 + 512, 4)
    assert kv_cache.cells(Load(300, 3, unified=True)) == (1024, 1)  # 900 cells padded once, not 300 three times
