# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Scratch memory for weights on the host.

Against the engine's answers (tests/oracle/engine-offload.jsonl), and where there is none.
"""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import compute, estimate, weights
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import llama_fit

from tests.oracle import models, offload, table

MIB = 1024 * 1024
GIB = 1024 * MIB


@functools.lru_cache(maxsize=None)
def compared():
    """[(row, ours without, ours with)] of every third row, which has all models, and of all rows of gpt-oss.

    Its models have biases and sinks.
    """
    return [
        (row,) + tuple(offload.predicted(row))
        for number, row in enumerate(offload.rows())
        if number % 3 == 0 or row["model"].startswith("gpt-oss")
    ]


def errors(which):
    return [max(abs(mine - theirs) for theirs, mine in zip(row[which], ours)) for row, without, ours in compared()]


def test_the_table_is_large_enough_and_names_its_build():
    head = json.loads(offload.TABLE.read_text(encoding="utf-8").splitlines()[0])
    assert "build 11669" in head["engine"]
    rows = offload.rows()
    assert len(rows) >= 250 and len({row["model"] for row in rows}) >= 30
    assert sum(1 for row in rows if row["n_cpu_moe"]) >= 40 and sum(1 for row in rows if row["n_gpu_layers"] == 0) >= 20
    assert {len(row["devices_mib"]) for row in rows} == {1, 2}


def test_a_backend_with_an_offload_op_of_its_own_says_the_same():
    witnessed = [row for row in offload.rows() if "vulkan" in row]
    assert len(witnessed) >= 40 and [row for row in witnessed if row["vulkan"] != row["offloaded"]] == []


def test_scratch_memory_is_the_engines():
    differences = sorted(errors("offloaded"))
    close = [size for size in differences if size < 1.01]
    assert len(close) >= 0.95 * len(differences) and differences[-1] <= 32


def test_without_it_the_buffers_are_the_engines_where_experts_lie_on_the_host():
    apart = [
        row["model"]
        for row, without, ours in compared()
        if max(abs(mine - theirs) for theirs, mine in zip(row["without"], without)) > 32
    ]
    assert apart == []


def test_it_is_hardly_ever_below_the_engines():
    below = [
        theirs - max(mine, plain)
        for row, without, ours in compared()
        for theirs, mine, plain in zip(row["offloaded"], ours, without)
    ]
    assert max(below) < 8


@pytest.mark.parametrize("model", ["llama3.3-70b", "qwen3-30b-a3b"])
def test_there_is_none_where_everything_is_on_the_devices(model):
    devices = estimate.estimate(table.facts(model), [1, 1], Load(8192, op_offload=True)).devices
    assert [device.offload_scratch_bytes for device in devices] == [0, 0]


def test_it_lies_on_the_first_device_alone_even_without_a_layer():
    devices = estimate.estimate(table.facts("llama3.3-70b"), [1, 1], Load(8192, op_offload=True), gpu_layers=0).devices
    assert [device.layers for device in devices] == [0, 0] and devices[1].offload_scratch_bytes == 0
    assert devices[0].offload_scratch_bytes / MIB == pytest.approx(1136, abs=1)  # seen on a real host: 1088 to 1331


def test_small_batches_are_left_to_the_host():
    devices = estimate.estimate(table.facts("llama3.1-8b"), [1], Load(8192, ubatch=16, op_offload=True), 10).devices
    assert devices[0].offload_scratch_bytes == 0


def test_it_is_a_line_of_its_own_that_is_asked_for():
    model = table.facts("mixtral-8x7b")
    plain, more = (
        estimate.estimate(model, [1], Load(8192, op_offload=asked), 10).devices[0] for asked in (False, True)
    )
    assert plain.offload_scratch_bytes == 0 < more.offload_scratch_bytes
    assert plain.compute_bytes == more.compute_bytes


def test_a_fit_that_counts_it_gives_the_device_no_more_layers():
    model = table.facts("qwen2.5-32b")
    loads = [Load(16384, ubatch=2048, op_offload=asked) for asked in (False, True)]
    before, after = (llama_fit.fit(model, [12 * GIB], load) for load in loads)
    assert before.changed and after.layers == [before.layers[0] - 1]
    used = estimate.estimate(model, after.layers, loads[1], sum(after.layers)).devices[0]
    parts = used.weight_bytes + used.kv_bytes + used.compute_bytes + used.offload_scratch_bytes
    assert after.used_bytes == [parts] <= [11 * GIB]
    assert llama_fit.fit(model, [12 * GIB], Load(16384, ubatch=2048)).layers == before.layers


def test_without_sizes_of_tensors_their_share_of_the_layer_counts():
    exact = table.facts("mixtral-8x7b")
    known = dataclasses.replace(exact, layer_sizes=None, other_sizes=None)
    slots = weights.assign_layers([1], 33, 16)
    load = Load(8192, op_offload=True)
    near, true = (compute.compute_by_device(model, slots, 1, load)[0] for model in (known, exact))
    assert near == pytest.approx(true, rel=0.1)


def test_an_unknown_architecture_gets_a_careful_estimate(monkeypatch):
    monkeypatch.setattr(compute.kinds, "kinds_of", lambda model: [])
    strange = models.facts("llama3.3-70b", architecture="unheard-of")
    first, second = estimate.estimate(strange, [1, 1], Load(8192, op_offload=True), 40).devices
    assert first.offload_scratch_bytes >= strange.output_bytes and second.offload_scratch_bytes == 0
