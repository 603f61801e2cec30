# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama's choice of GPUs from 0.30 on, against the recorded loads of 0.32.15, and llama.cpp's fit."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import (
    engine_start,
    environment,
    llama_fit,
    v0_30,
    v0_30_eviction,
    versions,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)

from tests.oracle import models, replay
from tests.unit.plugins.module_utils.releases.loads import choose, decide, request

MIB = 1024 * 1024
GIB = 1024 * MIB


def gpus(*free_mib):
    return [
        {"uuid": "GPU-%d" % index, "total_bytes": size * MIB, "free_bytes": size * MIB}
        for index, size in enumerate(free_mib)
    ]


def test_every_recorded_load_is_decided_alike():
    rows, differing = replay.replay(models.RECORDINGS / "ollama-0.32.15-placement.jsonl")
    assert rows == 1217
    assert differing == []


def test_every_engine_row_is_within_the_tolerance():
    rows, differing = replay.replay(models.RECORDINGS / "engine-rows.json")
    assert (rows, differing) == (624, [])


def test_every_fit_of_the_engine_is_the_same():
    rows, differing = replay.replay(models.RECORDINGS / "engine-fit.jsonl")
    assert (rows, differing) == (280, [])


# Rows of -residents.jsonl that differ, and why.
RESIDENT_REASONS = {
    20: "the server reads only the first `using device` line of each piece of the engine's output (llm/llama_server.go, Write), so that what was free at "
    "load on GPU 1 and 2 was not found: they counted as total less buffers (17.9 GiB, as recorded), GPU 0 as 17.5 GiB; the pieces are a matter of timing"
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
    two = gpus(24000, 10000)
    two = [dict(gpu, total_bytes=24564 * MIB) for gpu in two]
    first = {"buffers": {0: 5000 * MIB}, "free_at_load": {0: 24100 * MIB}}
    second = {"buffers": {1: 14000 * MIB}, "free_at_load": {1: 24100 * MIB}}
    assert v0_30_eviction.accounted_free(two, [second]) == [24000 * MIB, 10000 * MIB]
    assert v0_30_eviction.accounted_free(two, [first, second]) == [19100 * MIB, 24564 * MIB]


def test_the_replayer_reports_a_row_that_differs(tmp_path, capsys):
    line = (models.RECORDINGS / "ollama-0.32.15-placement.jsonl").read_text().splitlines()[0]
    changed = tmp_path / "x-placement.jsonl"
    changed.write_text(line.replace('"c":4096', '"c":4097') + "\n")
    assert replay.main([str(changed)]) == 1
    assert "x-placement.jsonl: equal 0 of 1" in capsys.readouterr().out


def test_one_gpu_up_to_eighty_percent_else_all():
    model = models.facts("llama3.1-8b")
    predicted = v0_30.predicted_bytes(model, 4096)
    assert predicted == model.file_bytes + 2 * 32 * 8 * 128 * 4096 * 2
    enough = -(-predicted * 100 // 80)
    one = [{"uuid": "a", "free_bytes": enough}, {"uuid": "b", "free_bytes": enough - 10}]
    assert v0_30.choose_gpus(one, predicted, {}, {})[0] == [0]
    assert v0_30.choose_gpus([dict(gpu, free_bytes=enough - 2) for gpu in one], predicted, {}, {})[0] == [0, 1]
    assert v0_30.choose_gpus(one, predicted, {}, {"OLLAMA_SCHED_SPREAD": "1"})[0] == [0, 1]
    assert v0_30.choose_gpus(one, predicted, {"main_gpu": 1}, {"OLLAMA_SCHED_SPREAD": "1"})[:2] == ([1], 0)
    assert v0_30.choose_gpus(one, predicted, {"num_gpu": 999}, {})[0] == [0]


def test_layers_without_kv_heads_count_as_one_head():
    model = models.facts("llama3.1-8b", head_count_kv=[0, 8] * 16)
    assert v0_30.predicted_bytes(model, 4096) == model.file_bytes + 2 * 32 * 1 * 128 * 4096 * 2


def test_gpu_overhead_changes_nothing_but_the_default_context():
    model = models.facts("llama3.1-8b")
    plain = decide(v0_30, model, gpus(24100, 24100), {"num_ctx": 4096})
    assert decide(v0_30, model, gpus(24100, 24100), {"num_ctx": 4096}, {"OLLAMA_GPU_OVERHEAD": "99000000000"}) == plain
    assert v0_30.default_context(gpus(24564, 24564), {}) == 262144
    assert v0_30.default_context(gpus(24564), {}) == 32768
    assert v0_30.default_context(gpus(8192), {}) == 4096


def test_a_second_model_evicts_above_eighty_percent():
    model = models.facts("llama3.1-8b")
    members = gpus(10000)
    limit = 10000 * MIB * 80 // 100
    assert not v0_30_eviction.evicts(request(model, members), limit, members)
    assert v0_30_eviction.evicts(request(model, members), limit + 1, members)
    assert not v0_30_eviction.evicts(request(model, members, {"num_gpu": 20}), limit + 1, members)
    assert v0_30_eviction.evicts(request(model, members, {}, {"OLLAMA_MAX_LOADED_MODELS": "1"}), 1, members)


def test_fit_fills_the_last_gpu_first_where_the_margin_is_violated():
    # Recorded: engine-fit, build 11669.
    model = models.facts("llama3.3-70b")
    fitted = llama_fit.fit(model, [16000 * MIB, 16000 * MIB], Load(131072, ubatch=1024, cache_type="q8_0"))
    assert fitted.changed and fitted.layers == [19, 18]
    fitted = llama_fit.fit(
        models.facts("deepseek-r1-14b"), [size * MIB for size in (20000, 20000, 8000, 8000)], Load(131072, ubatch=2048)
    )
    assert fitted.layers == [5, 27, 9, 8]
    assert not llama_fit.fit(model, [49000 * MIB, 49000 * MIB], Load(8192)).changed
    options = llama_fit.FitOptions(gpu_layers=999)
    assert not llama_fit.fit(model, [16000 * MIB, 16000 * MIB], Load(8192), options).changed


def test_flash_attention_is_a_matter_of_the_gpu_that_the_model_goes_to():
    host = [dict(gpu, compute_capability=[major, 0]) for gpu, major in zip(gpus(24100, 12000), (8, 5))]
    model = models.facts("llama3.1-8b")
    assert choose(model, host, {"num_ctx": 16384}).flash_attention == "auto"
    old = choose(model, host, {"num_ctx": 16384}, {"CUDA_VISIBLE_DEVICES": "1"})
    assert (old.flash_attention, old.batch) == ("off", 512)
    small = [dict(host[1], free_bytes=8 * GIB)]
    assert choose(model, small, {"num_ctx": 16384}).batch == 256
    # constrainedCUDAWithoutFlashAttention: nothing free counts as not known, then the total counts.
    assert engine_start.batch_size(GIB, 16384, [dict(host[1], free_bytes=0)], "off") == (512, 0)
    assert engine_start.batch_size(GIB, 16384, [dict(host[1], library="Vulkan")], "off") == (1024, 768 * MIB)


def test_a_model_that_sees_images_gets_2048_tokens_at_least():
    # server/sched.go, getRunner.
    plain, seeing = (
        models.facts("llama3.1-8b"),
        dataclasses.replace(models.facts("llama3.1-8b"), capabilities=["completion", "vision"]),
    )
    assert [v0_30.effective_context(model, {"num_ctx": 0}, {}, []) for model in (plain, seeing)] == [4, 2048]
    assert v0_30.effective_context(dataclasses.replace(plain, context_length=None), {"num_ctx": 8192}, {}, []) == 8192


def test_an_embedding_model_has_a_batch_of_its_own():
    # server/routes.go, shouldApplyEmbeddingBatchDefault; llm/llama_server.go, embeddingBatchSize.
    model = dataclasses.replace(models.facts("llama3.1-8b"), capabilities=["embedding"])
    asked = ({"num_ctx": 8192}, {"num_ctx": 512}, {"num_batch": 4096, "num_ctx": 1024})
    batches = [choose(model, gpus(24100), options).batch for options in asked]
    assert batches == [2048, 512, 1024]


def test_models_are_unloaded_one_by_one_until_the_next_one_fits():
    # server/sched.go, processPending and findRunnerToUnload.
    model, host = models.facts("llama3.1-8b"), gpus(24000)
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


def test_a_gpu_that_shares_the_hosts_memory_has_no_more_than_the_host():
    # server/sched.go, availableMemoryForGPU.
    shared = [dict(gpu, integrated=True) for gpu in gpus(64000, 64000)]
    model = models.facts("llama3.1-8b")
    assert choose(model, shared, {"num_ctx": 4096}).single_gpu
    assert not choose(model, shared, {"num_ctx": 4096}, system={"free_bytes": 4 * GIB}).single_gpu


def test_environment_is_read_as_ollama_reads_it():
    assert environment.boolean({"X": "fales"}, "X") is True
    assert environment.boolean({"X": '"0"'}, "X") is False
    assert environment.number({"X": "many"}, "X", 7) == 7
    two = [{"uuid": "GPU-aa"}, {"uuid": "GPU-bb"}]
    assert environment.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "1,0"}) == [(1, "1"), (0, "0")]
    assert environment.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "GPU-bb,7,0"}) == [(1, "GPU-bb")]
    assert environment.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "-1"}) == []


@pytest.mark.parametrize(
    "version, rules",
    [
        ("0.32.15", v0_30),
        ("v0.30.0", v0_30),
        ("0.33.0-rc2", v0_30),
        ("1.0.0", v0_30),
        ("0.24.0", v0_12_11),
        ("0.12.11", v0_12_11),
        ("0.12.10", v0_11_11),
        ("0.11.11", v0_11_11),
        ("0.11.10", v0_11_5),
        ("0.11.5", v0_11_5),
        ("0.11.4", v0_5),
        ("0.5.9", v0_5),
    ],
)
def test_rules_of_a_version(version, rules):
    assert versions.rules_for(version) is rules


def test_what_is_no_version_is_refused():
    with pytest.raises(ValueError, match="latest"):
        versions.rules_for("latest")
