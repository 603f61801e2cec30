# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama's choice of GPUs from 0.30 on, against the recorded loads of 0.32.15, and llama.cpp's fit."""

from __future__ import annotations

import pytest

from ansible_collections.gpufleet.ollama.plugins.module_utils.scheduler import environment, era_a, era_b, era_c, era_d, era_e, llama_fit, versions
from tests.oracle import models, replay

MIB = 1024 * 1024
GIB = 1024 * MIB


def gpus(*free_mib):
    return [{"uuid": "GPU-%d" % index, "total_bytes": size * MIB, "free_bytes": size * MIB} for index, size in enumerate(free_mib)]


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
        "load on GPU 1 and 2 was not found: they counted as total less buffers (17.9 GiB, as recorded), GPU 0 as 17.5 GiB; the pieces are a matter of timing",
}


def test_loads_beside_resident_models_are_decided_alike_but_for_those_with_a_reason():
    rows, differing = replay.replay(models.RECORDINGS / "ollama-0.32.15-residents.jsonl")
    assert rows == 66
    assert [number for number, dummy, dummy_too in differing] == sorted(RESIDENT_REASONS)


def test_free_memory_beside_resident_models_is_what_the_server_said():
    said = 0
    for number, row in enumerate(replay.rows_of(models.RECORDINGS / "ollama-0.32.15-residents.jsonl")[0], 1):
        selected = row["step"]["result"].get("selected")
        if not selected or not row["residents"] or len(row["step"]["resident_after"]) == 1 or number in RESIDENT_REASONS:
            continue
        free = [dict(gpu, free_bytes=mib * MIB) for gpu, mib in zip(replay.gpus_of(row), row["step"]["free_mib_before"])]
        said += 1
        assert era_e.accounted_free(free, row["residents"])[int(selected["id"])] / GIB == pytest.approx(float(selected["available"].split()[0]), abs=0.051)
    assert said == 18


def test_a_one_gpu_engine_on_a_gpu_of_index_above_0_is_not_accounted():
    two = gpus(24000, 10000)
    two = [dict(gpu, total_bytes=24564 * MIB) for gpu in two]
    first = {"buffers": {0: 5000 * MIB}, "free_at_load": {0: 24100 * MIB}}
    second = {"buffers": {1: 14000 * MIB}, "free_at_load": {1: 24100 * MIB}}
    assert era_e.accounted_free(two, [second]) == [24000 * MIB, 10000 * MIB]
    assert era_e.accounted_free(two, [first, second]) == [19100 * MIB, 24564 * MIB]


def test_the_replayer_reports_a_row_that_differs(tmp_path, capsys):
    line = (models.RECORDINGS / "ollama-0.32.15-placement.jsonl").read_text().splitlines()[0]
    changed = tmp_path / "x-placement.jsonl"
    changed.write_text(line.replace('"c":4096', '"c":4097') + "\n")
    assert replay.main([str(changed)]) == 1
    assert "x-placement.jsonl: equal 0 of 1" in capsys.readouterr().out


def test_one_gpu_up_to_eighty_percent_else_all():
    model = models.model("llama3.1-8b")
    predicted = era_e.predicted_bytes(model, 4096)
    assert predicted == model["file_bytes"] + 2 * 32 * 8 * 128 * 4096 * 2
    enough = -(-predicted * 100 // 80)
    one = [{"uuid": "a", "free_bytes": enough}, {"uuid": "b", "free_bytes": enough - 10}]
    assert era_e.choose_gpus(one, predicted, {}, {})[0] == [0]
    assert era_e.choose_gpus([dict(gpu, free_bytes=enough - 2) for gpu in one], predicted, {}, {})[0] == [0, 1]
    assert era_e.choose_gpus(one, predicted, {}, {"OLLAMA_SCHED_SPREAD": "1"})[0] == [0, 1]
    assert era_e.choose_gpus(one, predicted, {"main_gpu": 1}, {"OLLAMA_SCHED_SPREAD": "1"})[:2] == ([1], 0)
    assert era_e.choose_gpus(one, predicted, {"num_gpu": 999}, {})[0] == [0]


def test_layers_without_kv_heads_count_as_one_head():
    model = models.model("llama3.1-8b", head_count_kv=[0, 8] * 16)
    assert era_e.predicted_bytes(model, 4096) == model["file_bytes"] + 2 * 32 * 1 * 128 * 4096 * 2


def test_gpu_overhead_changes_nothing_but_the_default_context():
    model = models.model("llama3.1-8b")
    plain = era_e.decide(model, gpus(24100, 24100), {"num_ctx": 4096})
    assert era_e.decide(model, gpus(24100, 24100), {"num_ctx": 4096}, {"OLLAMA_GPU_OVERHEAD": "99000000000"}) == plain
    assert era_e.default_context(gpus(24564, 24564), {}) == 262144
    assert era_e.default_context(gpus(24564), {}) == 32768
    assert era_e.default_context(gpus(8192), {}) == 4096


def test_a_second_model_evicts_above_eighty_percent():
    model = models.model("llama3.1-8b")
    members = gpus(10000)
    limit = 10000 * MIB * 80 // 100
    assert not era_e.evicts(limit, members, model, {}, {})
    assert era_e.evicts(limit + 1, members, model, {}, {})
    assert not era_e.evicts(limit + 1, members, model, {"num_gpu": 20}, {})
    assert era_e.evicts(1, members, model, {}, {"OLLAMA_MAX_LOADED_MODELS": "1"})


def test_fit_fills_the_last_gpu_first_where_the_margin_is_violated():
    # Recorded: engine-fit, build 11669.
    model = models.model("llama3.3-70b")
    fitted = llama_fit.fit(model, [16000 * MIB, 16000 * MIB], 131072, ubatch=1024, cache_type="q8_0")
    assert fitted["changed"] and fitted["layers"] == [19, 18]
    fitted = llama_fit.fit(models.model("deepseek-r1-14b"), [size * MIB for size in (20000, 20000, 8000, 8000)], 131072, ubatch=2048)
    assert fitted["layers"] == [5, 27, 9, 8]
    assert not llama_fit.fit(model, [49000 * MIB, 49000 * MIB], 8192)["changed"]
    assert not llama_fit.fit(model, [16000 * MIB, 16000 * MIB], 8192, gpu_layers=999)["changed"]


def test_the_projector_widens_the_margin():
    model = models.model("llama3.1-8b", projector_bytes=512 * MIB)
    assert era_e.fit_margins(model, gpus(24100), {}) == [1536 * MIB]
    assert era_e.fit_margins(model, gpus(1500), {}) == [GIB]
    assert era_e.fit_margins(model, gpus(24100, 24100), {"LLAMA_ARG_FIT_TARGET": "512,2048"}) == [512 * MIB, 2048 * MIB]


def test_environment_is_read_as_ollama_reads_it():
    assert environment.boolean({"X": "fales"}, "X") is True
    assert environment.boolean({"X": '"0"'}, "X") is False
    assert environment.number({"X": "many"}, "X", 7) == 7
    two = [{"uuid": "GPU-aa"}, {"uuid": "GPU-bb"}]
    assert environment.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "1,0"}) == [(1, "1"), (0, "0")]
    assert environment.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "GPU-bb,7,0"}) == [(1, "GPU-bb")]
    assert environment.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "-1"}) == []


@pytest.mark.parametrize(
    "version, era",
    [
        ("0.32.15", era_e),
        ("v0.30.0", era_e),
        ("0.33.0-rc2", era_e),
        ("1.0.0", era_e),
        ("0.24.0", era_d),
        ("0.12.11", era_d),
        ("0.12.10", era_c),
        ("0.11.11", era_c),
        ("0.11.10", era_b),
        ("0.11.5", era_b),
        ("0.11.4", era_a),
        ("0.5.9", era_a),
    ],
)
def test_era_of_a_version(version, era):
    assert versions.era_for(version) is era


def test_what_is_no_version_is_refused():
    with pytest.raises(ValueError, match="latest"):
        versions.era_for("latest")
