# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of a loaded model against the engine's recorded dry runs."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate, kv_cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import models

MIB = 1024 * 1024
ROWS, SERVER_ROWS = (
    json.loads((models.RECORDINGS / name).read_text())["rows"]
    for name in ("engine-rows.json", "engine-rows-server.json")
)
#: An older build has logits for every token of a batch, as llama-fit-params has; 0.32.15 starts llama-server.
EITHER = pytest.mark.parametrize("rows, version", [(ROWS, "0.30.0"), (SERVER_ROWS, "0.32.15")])


def predicted(row, version="0.30.0"):
    return loaded(row, version).devices


def loaded(row, version):
    model = models.facts(row["model"])
    outputs = versions.release_of(version).outputs(model, row["n_parallel"], {})
    load = Load(
        row["n_ctx"] // row["n_parallel"],
        row["n_parallel"],
        row["n_ubatch"],
        row["cache_type"],
        flash_attention=row["flash_attn"] != "off",
        outputs=outputs,
    )
    return estimate.estimate(model, row["tensor_split"], load)


def test_compute_buffers_are_llama_server_s_to_the_mib_in_every_row():
    errors = [
        device.compute_bytes / MIB - row["mib"]["RPC%d" % index][2]
        for row in SERVER_ROWS
        for index, device in enumerate(predicted(row, "0.32.15"))
    ]
    assert len(errors) == 1560
    assert -1 < min(errors) and max(errors) < 1


@EITHER
def test_the_host_s_compute_buffer_is_the_engine_s_to_the_mib_in_every_row(rows, version):
    errors = [loaded(row, version).host_compute_bytes / MIB - row["mib"]["Host"][2] for row in rows]
    assert len(errors) == 624 and -1 < min(errors) and max(errors) < 1


@EITHER
def test_weights_and_kv_cache_are_the_engine_s_in_every_row(rows, version):
    assert len(rows) == 624
    for row in rows:
        for index, device in enumerate(predicted(row, version)):
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


@settings(max_examples=40)
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
