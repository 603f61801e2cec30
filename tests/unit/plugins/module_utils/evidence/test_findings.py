# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every way in which a model can differ from its plan gets the finding that explains it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    LISTED,
    MIB,
    NAME,
    OVERHEAD,
    PS,
    WITHOUT_LOG,
    A,
    B,
    failed,
    findings,
    gpu,
    log,
    observations,
    plan,
)

DEVIATIONS = [
    # The log says 49/49 and size equals size_vram in each of them.
    ("one_gpu", observations(held={A: 65 * GIB, B: 300 * MIB}), "one_gpu_carries_all"),
    ("the other one", observations(held={A: 300 * MIB, B: 65 * GIB}), "one_gpu_carries_all"),
    ("one_gpu, the other one not even opened", observations(held={A: 65 * GIB}), "one_gpu_carries_all"),
    ("contexts_only", observations(held={A: 300 * MIB, B: 300 * MIB}), "layers_on_cpu"),
    ("nothing", observations(held={}), "cpu_only"),
    (
        "cpu, with buffers named CPU",
        observations(
            held={},
            log=log(buffers={"CPU": 64 * GIB}, dry_run={}),
            ps=dict(PS, size=0, size_vram=0),
            utilization_peak={A: 0, B: 0},
        ),
        "cpu_only",
    ),
    (
        "foreign",
        observations(held={A: 300 * MIB, B: 300 * MIB}, others={A: [(77, 33 * GIB, None)], B: [(77, 32 * GIB, None)]}),
        "foreign_process",
    ),
    (
        "foreign, of another service",
        observations(
            held={A: 300 * MIB, B: 300 * MIB},
            others={A: [(77, 33 * GIB, "ollama.service")], B: [(78, 32 * GIB, "ollama.service")]},
        ),
        "foreign_process",
    ),
    ("far, too much", observations(held={A: 40 * GIB, B: 39 * GIB}), "far_from_predicted"),
    ("far, too little", observations(held={A: 25 * GIB, B: 24 * GIB}), "far_from_predicted"),
    ("idle", observations(utilization_peak={A: 0, B: 0}), "layers_on_cpu"),
    ("one idle", observations(utilization_peak={A: 40, B: 0}), "layers_on_cpu"),
    ("dead", observations(died="process 4242 ended after it had loaded the model"), "engine_died"),
    (
        "dead while generating",
        observations(generation_error="llama-server process has terminated: exit status 1"),
        "engine_died",
    ),
    ("silent", observations(generation_error="nothing has moved in the unit for 300 seconds"), "engine_died"),
    ("some layers", observations(held={A: 20 * GIB, B: 19 * GIB}, log=log(layers=(30, 49))), "layers_on_cpu"),
    ("one layer", observations(log=log(layers=(48, 49))), "layers_on_cpu"),
    ("size_vram below size", observations(ps=dict(PS, size_vram=60 * GIB)), "layers_on_cpu"),
    (
        "experts in host memory under 49/49",
        observations(
            held={A: 12 * GIB, B: 11 * GIB}, log=log(buffers={"CUDA0": 12 * GIB, "CUDA1": 11 * GIB, "CPU": 42 * GIB})
        ),
        "layers_on_cpu",
    ),
    ("another context length", observations(ps=dict(PS, context_length=4096)), "far_from_predicted"),
    (
        "the engine expects more than was predicted",
        observations(log=log(dry_run={"CUDA0": 35 * GIB, "CUDA1": 32 * GIB})),
        "far_from_predicted",
    ),
]


@pytest.mark.parametrize("seen, finding", [case[1:] for case in DEVIATIONS], ids=[case[0] for case in DEVIATIONS])
def test_every_deviation_fails_with_the_finding_that_explains_it(seen, finding):
    result = check_plan(plan(), seen)
    assert result.verdict == "fail"
    assert failed(result)
    assert findings(result) == [finding]
    for entry in result.diagnosis:
        assert entry.evidence and entry.remedy.endswith(".")
        assert entry.instance == "gpu0-1" and entry.model == NAME


def test_a_server_that_reports_no_bytes_claims_nothing():
    said = {size: check_plan(plan(), observations(held={}, ps=dict(PS, size=size, size_vram=size))) for size in (0, 5)}
    assert "size_vram equals size" not in said[0].diagnosis[0].evidence
    assert "size_vram equals size" in said[5].diagnosis[0].evidence


def test_a_replica_on_the_wrong_gpu_fails():
    result = check_plan(plan({A: 5 * GIB}, outcome="single"), observations(held={B: 5 * GIB + OVERHEAD}, **WITHOUT_LOG))
    assert findings(result) == ["far_from_predicted"]
    assert "on GPU 1 (RTX A6000), but" in result.diagnosis[0].evidence
    assert result.instances[0].models[0].devices[1].uuid == B


OTHERS = {"pid": 77, "name": "python3", "used_bytes": None, "unit": "other.service", "type": "compute"}


@pytest.mark.parametrize(
    "shares, held, processes, finding",
    [
        (None, {}, [OTHERS], "cpu_only"),
        (None, {}, [], "cpu_only"),
        (None, {A: 300 * MIB, B: 300 * MIB}, [], "layers_on_cpu"),
        ({A: 5 * GIB}, {}, [OTHERS], "cpu_only"),
        (None, {}, [dict(LISTED, used_bytes=65 * GIB)], "far_from_predicted"),
        (None, {A: 300 * MIB, B: 300 * MIB}, [dict(LISTED, used_bytes=None)], "far_from_predicted"),
    ],
    ids=["of others without bytes", "of a container", "contexts", "one GPU", "the model", "the model, without bytes"],
)
def test_what_others_hold_outside_the_plan_is_not_taken_for_the_model(shares, held, processes, finding):
    """And what the engine holds there is no plan that one of its GPUs carries alone."""
    seen = observations(held=held, **WITHOUT_LOG)
    third = dict(gpu(A, 2, None), uuid="GPU-cccccccc", processes=processes)
    third["memory"].update(used_bytes=65 * GIB, total_bytes=96 * GIB, free_bytes=31 * GIB)
    seen.inventory["gpus"].append(third)
    assert findings(check_plan(plan(shares), seen)) == [finding]


def test_a_spread_of_a_small_model_that_is_on_one_gpu_fails():
    """num_gpu 999 alone, without OLLAMA_SCHED_SPREAD: one GPU."""
    spread = plan({A: 3 * GIB, B: 3 * GIB}, outcome="split")
    seen = observations(held={A: 6 * GIB + OVERHEAD}, **WITHOUT_LOG, utilization_peak={A: 50, B: 0})
    seen.instances["gpu0-1"].models[NAME].engine.arguments.extend(["--split-mode", "none", "--main-gpu", "0"])
    result = check_plan(spread, seen)
    assert findings(result) == ["far_from_predicted", "one_gpu_carries_all"]
    assert "OLLAMA_SCHED_SPREAD" in result.diagnosis[1].remedy


def test_a_gpu_that_is_gone_is_named():
    seen = observations()
    del seen.inventory["gpus"][1]
    seen.inventory["unlisted"] = ["0000:3b:00.0"]
    result = check_plan(plan(), seen)
    assert findings(result) == ["gpu_not_seen"]
    assert B in result.diagnosis[0].evidence and "0000:3b:00.0" in result.diagnosis[0].evidence


def test_a_gpu_that_is_lost_is_named():
    seen = observations()
    seen.inventory["gpus"][1]["health"] = {"state": "unusable", "reasons": ["it has fallen off the bus"]}
    assert findings(check_plan(plan(), seen)) == ["gpu_not_seen"]


def test_a_driver_problem_comes_with_its_own_remedy():
    seen = observations()
    seen.inventory.update(state="version_mismatch", reason="the versions differ", remedy="Reboot the host.", gpus=[])
    result = check_plan(plan(), seen)
    assert findings(result) == ["gpu_not_seen"]
    assert result.diagnosis[0].remedy == "Reboot the host."


NOT_LOADED = {
    "loaded": False,
    "ps": None,
    "engine": None,
    "log": None,
    "utilization_peak": None,
    "tokens_per_second": None,
    "load_seconds": None,
}


@pytest.mark.parametrize(
    "changes, finding",
    [
        ({}, "not_loaded"),
        ({"load_error": "model 'x' not found"}, "not_loaded"),
        ({"load_error": "llama-server process has terminated: exit status 1"}, "engine_died"),
        ({"died": "the model was loaded, and is not any more"}, "engine_died"),
        ({"would_evict": ["stray:latest"]}, "not_loaded"),
    ],
)
def test_a_model_that_is_not_loaded_says_why(changes, finding):
    result = check_plan(plan(), observations(held={}, **dict(NOT_LOADED, **changes)))
    assert result.verdict == "fail"
    assert findings(result) == [finding]
    for text in changes.values():
        assert str(text if isinstance(text, str) else text[0]) in result.diagnosis[0].evidence


def test_a_load_that_fails_for_a_foreign_process_names_it():
    seen = observations(
        held={},
        others={A: [(77, 30 * GIB, None)]},
        **dict(NOT_LOADED, load_error="llama-server process has terminated: out of memory"),
    )
    result = check_plan(plan(), seen)
    assert findings(result) == ["foreign_process"]
    assert "77" in result.diagnosis[0].remedy


def test_a_server_that_does_not_answer():
    seen = observations(held={}, **NOT_LOADED)
    instance = seen.instances["gpu0-1"]
    instance.reachable = False
    instance.error = "cannot reach the Ollama server at http://127.0.0.1:11434: connection refused"
    result = check_plan(plan(), seen)
    assert findings(result) == ["not_loaded"]
    assert "connection refused" in result.diagnosis[0].evidence


def test_a_stopped_service_is_not_taken_for_what_answers_on_its_port():
    seen = observations()
    seen.instances["gpu0-1"].unit = {"ActiveState": "inactive", "MainPID": "0"}
    result = check_plan(plan(), seen)
    assert findings(result) == ["not_loaded"]
    assert "something else answers" in result.diagnosis[0].evidence
