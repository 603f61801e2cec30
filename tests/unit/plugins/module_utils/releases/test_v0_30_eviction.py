# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that are unloaded for another one, and free memory beside loaded models, from 0.30 on."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import v0_30_eviction

from tests.oracle import models, replay
from tests.unit.plugins.module_utils.releases.loads import GIB, choose, gpus, request

MIB = 1024 * 1024


def mib_gpus(*free_mib):
    return gpus(*(size / 1024 for size in free_mib))


# Rows of -residents.jsonl that differ, and why.
RESIDENT_REASONS = {
    20: "the server reads only the first `using device` line of each piece of the engine's output "
    "(llm/llama_server.go, Write), so that what was free at load on GPU 1 and 2 was not found: they counted as total "
    "less buffers (17.9 GiB, as recorded), GPU 0 as 17.5 GiB; the pieces are a matter of timing"
}


def test_loads_beside_resident_models_are_decided_alike_but_for_those_with_a_reason():
    rows, differing = replay.replay(models.RECORDINGS / "ollama-0.32.15-residents.jsonl")
    assert rows == 66
    assert [number for number, dummy, dummy_too in differing] == sorted(RESIDENT_REASONS)


def test_free_memory_beside_resident_models_is_what_the_server_said():
    said = 0
    for number, row in enumerate(replay.rows_of(models.RECORDINGS / "ollama-0.32.15-residents.jsonl")[0], 1):
        selected = row["step"]["result"].get("selected")
        if (
            not selected
            or not row["residents"]
            or len(row["step"]["resident_after"]) == 1
            or number in RESIDENT_REASONS
        ):
            continue
        free = [
            dict(gpu, free_bytes=mib * MIB) for gpu, mib in zip(replay.gpus_of(row), row["step"]["free_mib_before"])
        ]
        said += 1
        assert v0_30_eviction.accounted_free(free, row["residents"])[int(selected["id"])] / GIB == pytest.approx(
            float(selected["available"].split()[0]), abs=0.051
        )
    assert said == 18


def test_a_one_gpu_engine_on_a_gpu_of_index_above_0_is_not_accounted():
    two = mib_gpus(24000, 10000)
    two = [dict(gpu, total_bytes=24564 * MIB) for gpu in two]
    first = {"buffers": {0: 5000 * MIB}, "free_at_load": {0: 24100 * MIB}}
    second = {"buffers": {1: 14000 * MIB}, "free_at_load": {1: 24100 * MIB}}
    assert v0_30_eviction.accounted_free(two, [second]) == [24000 * MIB, 10000 * MIB]
    assert v0_30_eviction.accounted_free(two, [first, second]) == [19100 * MIB, 24564 * MIB]


def test_a_second_model_evicts_above_eighty_percent():
    model = models.facts("llama3.1-8b")
    members = mib_gpus(10000)
    limit = 10000 * MIB * 80 // 100
    assert not v0_30_eviction.evicts(request(model, members), limit, members)
    assert v0_30_eviction.evicts(request(model, members), limit + 1, members)
    assert not v0_30_eviction.evicts(request(model, members, {"num_gpu": 20}), limit + 1, members)
    assert v0_30_eviction.evicts(request(model, members, {}, {"OLLAMA_MAX_LOADED_MODELS": "1"}), 1, members)


def test_models_are_unloaded_one_by_one_until_the_next_one_fits():
    # server/sched.go, processPending and findRunnerToUnload.
    model, host = models.facts("llama3.1-8b"), mib_gpus(24000)
    running = [
        {"buffers": {0: 9000 * MIB}, "held": {0: 9300 * MIB}, "free_at_load": {0: free * MIB}}
        for free in (14700, 24000)
    ]
    full = [dict(host[0], free_bytes=(24000 - 18600) * MIB)]
    decided = choose(model, full, {"num_ctx": 4096}, residents=running)
    assert (decided.evicts, decided.evicted) == (True, 1)
    larger = choose(models.facts("llama3.3-70b"), full, {"num_ctx": 4096}, residents=running)
    assert larger.evicted == 2
    two = {"OLLAMA_MAX_LOADED_MODELS": "2"}
    small = [dict(held, buffers={0: 100 * MIB}, held={0: 400 * MIB}) for held in running]
    empty = [dict(host[0], free_bytes=23000 * MIB)]
    assert [choose(model, empty, {"num_ctx": 4096}, values, residents=small).evicted for values in ({}, two)] == [0, 1]
    # With num_gpu 0 no GPU is looked at, and nothing has to go.
    assert choose(model, full, {"num_ctx": 4096, "num_gpu": 0}, residents=running).evicted == 0
    # generationBatchSurcharge counts for a batch that the request names, too.
    assert [
        choose(
            model,
            [dict(host[0], free_bytes=9000 * MIB)],
            {"num_ctx": 4096, "num_batch": batch},
            residents=[{"buffers": {}, "held": {}, "free_at_load": {}}],
        ).evicted
        for batch in (512, 2048)
    ] == [0, 1]
