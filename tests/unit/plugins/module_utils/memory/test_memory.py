# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory model against the engine's recorded dry runs, and its parts one by one."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import (
    compute,
    estimate,
    hyperparameters,
    kv_cache,
    overhead,
    weights,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import models

MIB = 1024 * 1024
ROWS = json.loads((models.RECORDINGS / "engine-rows.json").read_text())["rows"]


def predicted(row):
    return estimate.estimate(
        models.facts(row["model"]),
        row["tensor_split"],
        Load(row["n_ctx"], row["n_parallel"], row["n_ubatch"], row["cache_type"]),
    ).devices


def test_weights_and_kv_cache_are_the_engine_s_in_every_row():
    assert len(ROWS) == 624
    for row in ROWS:
        for index, device in enumerate(predicted(row)):
            engine = row["mib"]["RPC%d" % index]
            assert 0 <= device.weight_bytes / MIB - engine[0] < 1, row
            assert 0 <= device.kv_bytes / MIB - engine[1] < 1, row


def test_compute_buffers_are_the_engine_s_within_two_percent_of_the_device():
    exact = 0
    for row in ROWS:
        for index, device in enumerate(predicted(row)):
            engine = row["mib"]["RPC%d" % index]
            error = device.compute_bytes / MIB - engine[2]
            assert abs(error) <= max(0.02 * sum(engine), 40), row
            exact += abs(error) <= 1
    assert exact > 0.98 * sum(len(row["tensor_split"]) for row in ROWS)


@pytest.mark.parametrize(
    "ubatch, expected",
    [(512, [(31659, 1414, 380), (30105, 1346, 676)]), (1024, [(31659, 1452, 764), (30105, 1380, 1357)])],
)
def test_llama4_over_two_gpus_at_32768_tokens(ubatch, expected):
    devices = estimate.estimate(models.facts("llama4-scout"), [1, 1], Load(32768, ubatch=ubatch)).devices
    for device, (weight, cache, buffers) in zip(devices, expected):
        assert device.weight_bytes / MIB == pytest.approx(weight, rel=0.02)
        assert device.kv_bytes / MIB == pytest.approx(cache, rel=0.02)
        assert device.compute_bytes / MIB == pytest.approx(buffers, rel=0.02)
    assert [device.layers for device in devices] == [25, 24]


# The engine's dry run (build 11669) of models that the formulas were not fitted on: compute MiB per device.
HELD_OUT = [
    ("llama3.3-70b", 65536, 2048, 4, "f16", True, [2720, 2400, 2400, 2602]),
    ("llama3.2-3b", 32768, 1024, 2, "f16", True, [544, 865]),
    ("qwen2.5-32b", 32768, 1024, 2, "f16", True, [900, 1030]),
    ("mixtral-8x7b", 4096, 512, 1, "f16", True, [204]),
    ("mixtral-8x7b", 65536, 2048, 4, "f16", True, [2208, 2048, 2048, 2048]),
    ("qwen3-0.6b", 32768, 1024, 2, "f16", True, [356, 901]),
    ("qwen3-30b-a3b", 65536, 2048, 4, "f16", True, [1568, 1488, 1488, 2355]),
    ("qwen3-235b-a22b", 32768, 1024, 2, "f16", True, [800, 993]),
    ("gemma3-27b", 65536, 2048, 4, "f16", True, [2238, 2028, 2028, 3498]),
    ("gpt-oss-120b", 32768, 1024, 2, "f16", True, [585, 1164]),
    ("gpt-oss-120b", 8192, 512, 3, "q8_0", True, [195, 167, 484]),
    ("qwen3-32b", 32768, 1024, 2, "f16", False, [9100, 9000]),
    ("llama3.1-8b", 8192, 512, 1, "f16", False, [572]),
]


@pytest.mark.parametrize("name, context, ubatch, count, cache_type, flash, expected", HELD_OUT)
def test_compute_buffers_of_models_held_out(name, context, ubatch, count, cache_type, flash, expected):
    load = Load(context, ubatch=ubatch, cache_type=cache_type, flash_attention=flash)
    devices = estimate.estimate(models.facts(name), [1] * count, load).devices
    for device, engine in zip(devices, expected):
        assert device.compute_bytes / MIB == pytest.approx(engine, rel=0.022, abs=5)


def test_layers_are_assigned_by_cumulative_share():
    assert weights.layer_counts(weights.assign_layers([1, 1], 49), 2) == [25, 24]
    assert weights.layer_counts(weights.assign_layers([60, 23], 49), 2) == [36, 13]
    assert weights.layer_counts(weights.assign_layers([24, 25], 49), 2) == [24, 25]
    assert weights.assign_layers([1], 5, 2) == [None, None, None, 0, 0]
    assert weights.assign_layers([], 3) == [None] * 3


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(1, 130), st.integers(0, 140))
def test_every_layer_is_placed_once_and_in_order(shares, slots, offloaded):
    placed = weights.assign_layers(shares, slots, offloaded)
    assert len(placed) == slots
    assert sum(weights.layer_counts(placed, len(shares))) == min(slots, offloaded)
    on_gpu = [device for device in placed if device is not None]
    assert on_gpu == sorted(on_gpu)
    assert placed[slots - len(on_gpu) :] == on_gpu


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(models.names()),
    st.integers(256, 200000),
    st.integers(1, 5000),
    st.sampled_from(sorted(kv_cache.CACHE_TYPES)),
    st.integers(1, 4),
)
def test_bytes_never_fall_when_the_context_grows(name, context, more, cache_type, count):
    def total(tokens):
        devices = estimate.estimate(models.facts(name), [1] * count, Load(tokens, cache_type=cache_type)).devices
        return [device.kv_bytes + device.compute_bytes for device in devices]

    assert all(small <= large for small, large in zip(total(context), total(context + more)))


def test_tied_embeddings_are_loaded_twice():
    model = models.facts("llama3.2-3b")
    assert model.tied_embeddings
    assert weights.slot_bytes(model)[-1] == model.output_bytes + model.embedding_bytes
    assert weights.weights_by_device(model, weights.assign_layers([1], 29), 1)[1] == model.embedding_bytes


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
    assert kv_cache.windowed_layers(models.facts("gpt-oss-20b"))[:4] == [True, False, True, False]
    assert kv_cache.windowed_layers(models.facts("gemma3-4b"))[:6] == [True] * 5 + [False]
    assert kv_cache.windowed_layers(
        dataclasses.replace(
            model, architecture="gemma3", sliding_window=1024, sliding_window_pattern=[True, False] * 24
        )
    )[:2] == [True, False]
    assert not any(kv_cache.windowed_layers(dataclasses.replace(model, architecture="phi3", sliding_window=2047)))


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


def test_a_gpu_without_layers_has_no_compute_buffer():
    model = models.facts("llama3.1-8b")
    slots = weights.assign_layers([1, 0], 33)
    assert compute.compute_by_device(model, slots, 2, Load(4096))[1] == 0


def test_context_overhead_is_a_line_of_its_own():
    assert overhead.context_overhead("ampere")[0] == 298 * MIB
    assert overhead.context_overhead("Ada Lovelace")[0] == 470 * MIB
    assert overhead.context_overhead("something new")[0] == 457 * MIB
    assert overhead.context_overhead("ampere", 5)[0] == 5


def test_what_a_header_leaves_out_is_filled_in_as_the_engine_does():
    model = hyperparameters.complete({"block_count": 2, "embedding_length": 64, "head_count": 4, "size_bytes": 7})
    assert model.head_count_kv == [4, 4] and model.key_length == 16 and model.file_bytes == 7
