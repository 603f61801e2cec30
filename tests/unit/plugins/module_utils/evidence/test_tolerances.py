# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The limits on memory, part by part, held to recorded engines: the truth passes, and what is missing is noticed."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import tolerances
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.tolerances import Limits
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions

from tests.oracle import models
from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    MIB,
    NAME,
    OVERHEAD,
    PID,
    WITHOUT_LOG,
    A,
    B,
    failed,
    findings,
    log,
    observations,
    plan,
)
from tests.unit.plugins.module_utils.evidence.told_hosts import partly

RECORDINGS = pathlib.Path(__file__).parents[4] / "fixtures" / "recordings"
#: What llama-server itself printed, and llama-fit-params, for the same 624 loads; releases that have logits as they do.
ROWS = [
    (row, versions.release_of(version))
    for name, version in (("engine-rows-server.json", "0.32.15"), ("engine-rows.json", "0.30.0"))
    for row in json.loads((RECORDINGS / name).read_text())["rows"]
]


def recorded_devices():
    """Yield (planned device, its limits without the engine's own figures, the engine's (weights, KV, compute))."""
    for row, release in ROWS:
        model = models.facts(row["model"])
        outputs = release.outputs(model, row["n_parallel"], {})
        load = Load(row["n_ctx"], row["n_parallel"], row["n_ubatch"], row["cache_type"], outputs=outputs)
        predicted = estimate.estimate(model, row["tensor_split"], load).devices
        for index, device in enumerate(predicted):
            planned = {
                "weight_bytes": device.weight_bytes,
                "kv_bytes": device.kv_bytes,
                "compute_bytes": device.compute_bytes,
                "overhead_bytes": OVERHEAD,
            }
            most = device.compute_bytes + tolerances.compute_tolerance(device.compute_bytes)
            least = tolerances.least_compute(planned)
            exact = device.weight_bytes + device.kv_bytes
            limits = tolerances.limits(planned, exact, Limits(least, most))
            yield planned, limits, [size * MIB for size in row["mib"]["RPC%d" % index]]


@pytest.mark.parametrize("context", [152 * MIB, 298 * MIB, 440 * MIB])
def test_every_recorded_engine_is_within_the_limits(context):
    devices = list(recorded_devices())
    assert len(devices) == 3120
    for planned, limits, engine in devices:
        assert limits.least_bytes <= sum(engine) + context <= limits.most_bytes, (planned, engine)


def test_no_more_can_be_missing_unnoticed_than_64_mib_of_the_compute_buffer_and_half_a_context():
    """And where the engine printed its compute buffer, half a context."""
    for planned, limits, (weights, cache, compute) in recorded_devices():
        exact = planned["weight_bytes"] + planned["kv_bytes"]
        held, rounding = weights + cache + compute + OVERHEAD, tolerances.exact_tolerance(exact) + 3 * MIB
        tolerated = max(64 * MIB, compute * 3 // 100)
        assert held - limits.least_bytes <= min(compute, tolerated) + OVERHEAD // 2 + rounding
        by_engine = tolerances.limits(planned, exact, Limits(compute, compute))
        assert by_engine.least_bytes <= held <= by_engine.most_bytes
        assert held - by_engine.least_bytes <= OVERHEAD // 2 + rounding


LIES = {
    "swapped shares": {A: 32 * GIB, B: 33 * GIB},
    "9 % less on both": {A: int(33 * GIB * 0.91), B: int(32 * GIB * 0.91)},
    "without half of the KV cache": {A: 33 * GIB - GIB // 2, B: 32 * GIB - GIB // 2},
    "without the KV cache": {A: 32 * GIB, B: 31 * GIB},
}


@pytest.mark.parametrize("held", LIES.values(), ids=LIES)
def test_what_is_not_where_it_was_planned_fails(held):
    seen = observations(held={uuid: size + OVERHEAD for uuid, size in held.items()})
    assert check_plan(plan(), seen).verdict == "fail"


@pytest.mark.parametrize("lie", ["9 % less on both", "without half of the KV cache", "without the KV cache"])
def test_it_fails_without_the_journal_too(lie):
    seen = observations(held={uuid: size + OVERHEAD for uuid, size in LIES[lie].items()}, **WITHOUT_LOG)
    assert check_plan(plan(), seen).verdict == "fail"


def test_swapped_shares_fail_without_the_journal_where_the_plan_sets_them():
    wanted = plan()
    wanted["instances"][0]["environment"]["LLAMA_ARG_TENSOR_SPLIT"] = "25,24"
    held = {uuid: size + OVERHEAD for uuid, size in LIES["swapped shares"].items()}
    engine = dataclasses.replace(
        observations().instances["gpu0-1"].models[NAME].engine, environment={"LLAMA_ARG_TENSOR_SPLIT": "25,24"}
    )
    assert check_plan(wanted, observations(engine=engine, **WITHOUT_LOG)).verdict == "pass"
    result = check_plan(wanted, observations(held=held, engine=engine, **WITHOUT_LOG))
    assert result.verdict == "fail" and failed(result) == ["memory " + A, "memory " + B]


def test_one_layer_may_be_elsewhere_where_the_engine_divides_them_and_says_so():
    """By the memory that is free when it loads; all layers together are as planned."""
    wanted = plan()
    for device in wanted["instances"][0]["models"][0]["predicted"]["devices"]:
        device["layers"] = 48
    moved = 30 * GIB // 48
    buffers = {"CUDA0": 33 * GIB - moved, "CUDA1": 32 * GIB + moved, "CPU_Mapped": 550 * MIB}
    said = log(buffers, dry_run={"CUDA0": 33 * GIB - moved, "CUDA1": 32 * GIB + moved})
    held = {A: 33 * GIB + OVERHEAD - moved, B: 32 * GIB + OVERHEAD + moved}
    assert check_plan(wanted, observations(held=held, log=said)).verdict == "pass"
    assert check_plan(wanted, observations(log=said)).verdict == "fail"


@pytest.mark.parametrize(
    "options, off, verdict",
    [
        (dict(fixed=True), (-GIB, GIB), "pass"),
        (dict(fixed=True), (-GIB, -GIB), "fail"),
        (dict(), (-GIB, -GIB), "pass"),  # the engine decides how much is on the GPUs
        (dict(fixed=True, LLAMA_ARG_TENSOR_SPLIT="24,24"), (-GIB, GIB), "fail"),
        (dict(LLAMA_ARG_TENSOR_SPLIT="24,24"), (-GIB, GIB), "fail"),
        (dict(LLAMA_ARG_TENSOR_SPLIT="24,24"), (0, 0), "pass"),
    ],
)
def test_a_layer_may_be_in_host_memory_only_where_the_engine_decides_that(options, off, verdict):
    """With num_gpu the sum is fixed, and with the split of the plan the share of each GPU."""
    held = {A: 33 * GIB + OVERHEAD + off[0], B: 32 * GIB + OVERHEAD + off[1]}
    wanted = partly(**options)
    engine = dataclasses.replace(
        observations().instances["gpu0-1"].models[NAME].engine, environment=wanted["instances"][0]["environment"]
    )
    assert check_plan(wanted, observations(held=held, engine=engine, **WITHOUT_LOG)).verdict == verdict


@pytest.mark.parametrize("fixed, verdict", [(True, "fail"), (False, "pass")])
def test_on_one_gpu_no_layer_is_elsewhere_where_the_plan_fixes_their_number(fixed, verdict):
    wanted = single()
    (model,) = wanted["instances"][0]["models"]
    model["predicted"].update(fully_on_gpu=False)
    if not fixed:
        del model["parameters"]["num_gpu"]
    assert check_plan(wanted, on_one_gpu(6 * GIB + OVERHEAD - 4 * GIB // 24 * 3)).verdict == "fail"
    assert check_plan(wanted, on_one_gpu(6 * GIB + OVERHEAD - 225 * MIB - OVERHEAD // 2)).verdict == verdict


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("fully_on_gpu", [True, False])
def test_the_only_layer_of_a_gpu_is_not_elsewhere_whatever_the_log_says(logged, fully_on_gpu):
    wanted = partly(1, 3 * GIB)
    wanted["instances"][0]["models"][0]["predicted"].update(fully_on_gpu=fully_on_gpu, gpu_layers=25)
    told = {"CUDA0": 36 * GIB - 100 * MIB, "CUDA1": 100 * MIB}
    said = log(dict(told, CPU=GIB), dry_run=told, compute={"CUDA0": GIB, "CUDA1": 100 * MIB})
    said = dataclasses.replace(said, cache={"CUDA0": GIB + 100 * MIB})
    evidence = {"log": said} if logged else WITHOUT_LOG
    held = {A: 36 * GIB + OVERHEAD - 100 * MIB, B: OVERHEAD + 100 * MIB}
    result = check_plan(wanted, observations(held=held, **evidence))
    assert result.verdict == "fail" and "memory " + B in failed(result)
    assert ("engine_weights " + B in failed(result)) is logged


def test_a_careful_estimate_of_compute_buffers_may_be_too_large():
    wanted = plan()
    less = {uuid: size + OVERHEAD - GIB // 2 for uuid, size in {A: 33 * GIB, B: 32 * GIB}.items()}
    seen = observations(held=less, **WITHOUT_LOG)
    assert check_plan(wanted, seen).verdict == "fail"
    wanted["instances"][0]["models"][0]["predicted"]["estimated"] = True
    assert check_plan(wanted, seen).verdict == "pass"


def single(share=6 * GIB, **changes):
    """A model on one GPU, like llama3.1:8b with 8192 tokens."""
    wanted = plan({A: share}, outcome="single")
    wanted["instances"][0]["models"][0]["predicted"]["devices"][0].update(changes)
    return wanted


def on_one_gpu(size, **changes):
    return observations(held={A: size}, **dict(WITHOUT_LOG, **changes))


def test_5_of_6_gib_fail():
    wanted = single(6 * GIB, weight_bytes=int(4.7 * GIB), kv_bytes=GIB, compute_bytes=300 * MIB)
    assert check_plan(wanted, on_one_gpu(int(6.3 * GIB))).verdict == "pass"
    assert check_plan(wanted, on_one_gpu(int(5.3 * GIB))).verdict == "fail"


@pytest.mark.parametrize("off, verdict", [(-200, "pass"), (700, "pass"), (-400, "fail"), (1000, "fail")])
def test_compute_buffer_and_context_are_what_may_differ(off, verdict):
    wanted = single(6 * GIB, weight_bytes=5 * GIB, kv_bytes=GIB // 2, compute_bytes=GIB // 2)
    assert check_plan(wanted, on_one_gpu(6 * GIB + OVERHEAD + off * MIB)).verdict == verdict


@pytest.mark.parametrize("off, verdict", [(700, "pass"), (-3900, "pass"), (-5400, "fail"), (1100, "fail")])
def test_scratch_memory_for_weights_on_the_host_may_be_there_and_need_not_be(off, verdict):
    partly = single(12 * GIB, weight_bytes=6 * GIB, offload_scratch_bytes=4 * GIB)  # and 1 GiB each of the others
    assert check_plan(partly, on_one_gpu(12 * GIB + OVERHEAD + off * MIB)).verdict == verdict


def test_a_projector_may_take_more_than_its_weights():
    """llama-server's worst case for the projector of qwen3.x: 1,136 MiB beside its weights."""
    with_projector = single(6 * GIB, weight_bytes=4 * GIB, kv_bytes=GIB // 2, compute_bytes=GIB // 2)
    seen = on_one_gpu(6 * GIB + OVERHEAD + 1136 * MIB)
    assert check_plan(with_projector, seen).verdict == "fail"
    with_projector["instances"][0]["models"][0]["predicted"]["devices"][0]["projector_bytes"] = GIB
    assert check_plan(with_projector, seen).verdict == "pass"
    assert check_plan(with_projector, on_one_gpu(5 * GIB)).verdict == "fail"


def test_a_gpu_that_was_to_hold_scratch_memory_alone_carries_the_model_without_it():
    partly = plan({A: 4 * GIB, B: 12 * GIB}, outcome="partial")
    predicted = partly["instances"][0]["models"][0]["predicted"]
    predicted["devices"][0].update(layers=0, weight_bytes=0, kv_bytes=0, compute_bytes=0, offload_scratch_bytes=4 * GIB)
    assert check_plan(partly, observations(held={A: OVERHEAD, B: 12 * GIB + OVERHEAD}, **WITHOUT_LOG)).verdict == "pass"


# -- small models ------------------------------------------------------------------------------------------------------

SMALL = {"weight_bytes": 70 * MIB, "kv_bytes": 20 * MIB, "compute_bytes": 10 * MIB}


def small():
    return single(100 * MIB, **SMALL)


def test_a_small_model_has_to_be_there():
    assert findings(check_plan(small(), observations(held={}, **WITHOUT_LOG))) == ["cpu_only"]
    assert check_plan(small(), on_one_gpu(100 * MIB + OVERHEAD)).verdict == "pass"


def test_a_bare_context_is_no_small_model_although_somebody_else_keeps_the_gpu_busy():
    seen = on_one_gpu(OVERHEAD, utilization_peak={A: 87}, busy_processes={A: {77: 87}})
    result = check_plan(small(), seen)
    assert (result.verdict, findings(result)) == ("fail", ["layers_on_cpu"])
    assert "77" in result.diagnosis[0].evidence


def test_the_utilization_of_the_gpu_alone_proves_a_small_model_only_if_nobody_else_is_there():
    alone = {"utilization_peak": {A: 30}, "busy_processes": {A: None}}
    assert check_plan(small(), on_one_gpu(100 * MIB + OVERHEAD, **alone)).verdict == "pass"
    beside = observations(held={A: 100 * MIB + OVERHEAD}, others={A: [(77, GIB, None)]}, **dict(WITHOUT_LOG, **alone))
    result = check_plan(small(), beside)
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    by_process = dict(alone, busy_processes={A: {PID: 1}})
    beside = observations(
        held={A: 100 * MIB + OVERHEAD}, others={A: [(77, GIB, None)]}, **dict(WITHOUT_LOG, **by_process)
    )
    assert check_plan(small(), beside).verdict == "pass"


@pytest.mark.parametrize("changes", [{"not_generated": "no generation was run"}, {"utilization_peak": {A: None}}])
def test_a_small_model_that_was_not_seen_computing_is_not_proven(changes):
    unseen = dict({"busy_processes": {A: None}, "answered": None}, **changes)
    if "not_generated" in changes:
        unseen.update(utilization_peak=None, busy_processes=None)
    else:
        unseen.update(answered=True)
    result = check_plan(small(), on_one_gpu(100 * MIB + OVERHEAD, **unseen))
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    large = check_plan(single(), on_one_gpu(6 * GIB + OVERHEAD, **unseen))
    assert large.verdict == "pass"


# -- the engine's dry run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("excess, verdict", [(1000, "pass"), (1030, "fail")])
def test_the_prediction_may_be_below_the_engines_by_the_headroom_at_most(excess, verdict):
    seen = observations(log=log(dry_run={"CUDA0": 33 * GIB + excess * MIB, "CUDA1": 32 * GIB}))
    assert check_plan(plan(), seen).verdict == verdict


def test_adapters_and_drafts_are_parts_of_what_is_known_exactly_and_of_the_compute_buffers():
    device = {"weight_bytes": 10, "kv_bytes": 20, "compute_bytes": 1000, "projector_bytes": 30}
    more = dict(device, adapter_bytes=40, draft_bytes=500, draft_compute_bytes=450)
    assert tolerances.exact_bytes(device) == 60
    assert tolerances.exact_bytes(more) == 60 + 40 + 50
    assert (tolerances.compute_bytes(device), tolerances.compute_bytes(more)) == (1000, 1450)


def test_a_cache_is_that_of_the_plan_and_may_have_that_of_a_draft():
    device = {"kv_bytes": 1024 * MIB, "draft_bytes": 300 * MIB, "draft_compute_bytes": 100 * MIB}
    found = [tolerances.is_cache(device, size * MIB, 0) for size in (1000, 1017, 1024, 1230, 1240)]
    assert found == [False, True, True, True, False]
    assert tolerances.is_cache(device, 1000 * MIB, 20 * MIB)
