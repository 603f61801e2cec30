# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host that is as planned passes, and only that; a model planned for the CPU passes on the CPU."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import ObservedModel

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
    checks,
    findings,
    log,
    observations,
    plan,
)


def test_a_split_as_planned_passes():
    result = check_plan(plan(), observations())
    assert result.verdict == "pass"
    assert result.diagnosis == []
    assert all(checks(result).values())
    model = result.instances[0].models[0]
    assert model.layers_offloaded == 49
    assert model.tokens_per_second == 31.5
    assert model.load_seconds == 9.5
    assert [
        (one.uuid, one.predicted_bytes, one.engine_bytes, one.observed_bytes, one.utilization_peak)
        for one in model.devices
    ] == [
        (A, 33 * GIB + OVERHEAD, 33 * GIB, 33 * GIB + OVERHEAD, 47),
        (B, 32 * GIB + OVERHEAD, 32 * GIB, 32 * GIB + OVERHEAD, 44),
    ]


def test_the_evidence_says_what_lies_between_engine_and_observed():
    wanted = plan()
    wanted["instances"][0]["models"][0]["predicted"]["devices"][0]["projector_bytes"] = 2 * GIB
    first = check_plan(wanted, observations()).instances[0].models[0].devices[0]
    assert (first.layers, first.context_bytes, first.projector_bytes) == (24, OVERHEAD, 2 * GIB)
    assert first.least_bytes < first.predicted_bytes + 2 * GIB < first.most_bytes


def test_the_evidence_says_what_the_engine_allocated_for_what():
    logged = dataclasses.replace(log(), cache={"CUDA0": 3 * GIB}, compute={"CUDA0": GIB, "CUDA1": 2 * GIB})
    devices = check_plan(plan(), observations(log=logged)).instances[0].models[0].devices
    assert [(one.engine_kv_bytes, one.engine_compute_bytes) for one in devices] == [(3 * GIB, GIB), (0, 2 * GIB)]
    silent = check_plan(plan(), observations(log=dataclasses.replace(log(), cache={}))).instances[0].models[0].devices
    assert [(one.engine_kv_bytes, one.engine_compute_bytes) for one in silent] == [(None, None)] * 2


def test_without_the_journal_it_passes_only_if_it_is_known_why_it_is_missing():
    result = check_plan(plan(), observations(**WITHOUT_LOG))
    assert result.verdict == "pass"
    assert checks(result)["layers"] is None
    assert checks(result)["engine_dry_run " + A] is None
    unread = check_plan(plan(), observations(log=None, device_uuids={}))
    assert (unread.verdict, findings(unread)) == ("unproven", ["unproven"])
    assert "journal" in unread.diagnosis[0].remedy


def test_it_changes_neither_plan_nor_observations():
    wanted, seen = plan(), observations(held={A: 65 * GIB, B: 300 * MIB})
    before = copy.deepcopy((wanted, seen))
    check_plan(wanted, seen)
    assert (wanted, seen) == before


def test_the_log_and_size_vram_alone_never_pass_a_model():
    """Everything that Ollama and the engine say is in favour; NVML lists no process."""
    seen = observations(held={}, utilization_peak=None)
    result = check_plan(plan(), seen)
    assert result.verdict == "fail"
    assert "49/49" in result.diagnosis[0].evidence


def test_an_instance_without_any_evidence_fails():
    seen = observations()
    seen.instances.clear()
    assert check_plan(plan(), seen).verdict == "fail"


def cpu_observations(**changes):
    seen = observations(
        held={},
        log=log(buffers={"CPU": 64 * GIB}, dry_run={}),
        utilization_peak={},
        busy_processes={},
        ps=dict(PS, size=0, size_vram=0),
        **changes,
    )
    seen.inventory.update(state="no_library", gpus=[], reason="no driver", remedy="none")
    return seen


def test_a_cpu_instance_passes_and_says_so():
    result = check_plan(plan({}), cpu_observations())
    assert result.verdict == "pass"
    assert checks(result)["cpu_only"] is True


def test_a_cpu_instance_has_to_be_loaded():
    assert findings(check_plan(plan({}), cpu_observations(loaded=False))) == ["not_loaded"]


def test_a_cpu_instance_that_sits_on_a_gpu_fails():
    assert findings(check_plan(plan({}), observations(held={A: 20 * GIB}))) == ["far_from_predicted"]


def test_a_plan_with_some_layers_on_the_cpu_passes_with_as_many():
    wanted = plan({A: 20 * GIB, B: 20 * GIB})
    wanted["instances"][0]["models"][0]["predicted"].update(gpu_layers=30, fully_on_gpu=False, host_bytes=25 * GIB)
    held = {A: 20 * GIB + OVERHEAD, B: 20 * GIB + OVERHEAD}
    partial = {"ps": dict(PS, size_vram=40 * GIB)}
    good = log(
        layers=(30, 49),
        buffers={"CUDA0": 20 * GIB, "CUDA1": 20 * GIB, "CPU": 25 * GIB},
        dry_run={"CUDA0": 20 * GIB, "CUDA1": 20 * GIB},
    )
    assert check_plan(wanted, observations(held=held, log=good, **partial)).verdict == "pass"
    fewer = dataclasses.replace(good, layers=29)
    assert findings(check_plan(wanted, observations(held=held, log=fewer, **partial))) == ["layers_on_cpu"]


def test_a_cpu_instance_says_that_no_layer_is_on_a_gpu():
    """The engine logs `offloaded 49/49 layers to GPU` where it sees none."""
    wanted = plan({})
    wanted["instances"][0]["models"][0]["predicted"].update(gpu_layers=0)
    model = check_plan(wanted, cpu_observations()).instances[0].models[0]
    assert (model.layers_offloaded, model.layers_total) == (0, 49)


@pytest.mark.parametrize("held", [1, 300 * MIB, None])
def test_a_cpu_instance_that_holds_anything_on_a_gpu_fails(held):
    seen = observations(held={A: held})
    seen.inventory["gpus"][0]["processes"] = [dict(LISTED, used_bytes=held)]
    result = check_plan(plan({}), seen)
    assert (result.verdict, findings(result)) == ("fail", ["far_from_predicted"])


@pytest.mark.parametrize(
    "state, verdict", [("timeout", "unproven"), ("version_mismatch", "unproven"), ("no_library", "pass")]
)
def test_a_cpu_instance_beside_gpus_that_cannot_be_read_is_not_proven(state, verdict):
    seen = cpu_observations()
    seen.inventory.update(state=state, remedy="Reboot the host.")
    result = check_plan(plan({}), seen)
    assert result.verdict == verdict
    assert [entry.remedy for entry in result.diagnosis] == (["Reboot the host."] if verdict == "unproven" else [])


def test_a_gpu_that_does_not_support_utilization_passes_and_the_check_says_so():
    unsupported = {"utilization_peak": {A: None, B: None}, "busy_processes": {A: None, B: None}}
    result = check_plan(plan(), observations(**unsupported))
    assert result.verdict == "pass"
    assert checks(result)["utilization " + A] is None
    unknown = check_plan(plan(), observations(utilization_peak=None, busy_processes=None))
    assert (unknown.verdict, findings(unknown)) == ("unproven", ["unproven"])


def test_a_model_that_was_loaded_again_says_so_and_passes():
    result = check_plan(plan(), observations(reloaded="its engine was gone"))
    assert result.verdict == "pass"
    assert result.instances[0].models[0].notes == ["its engine was gone"]


def test_a_model_on_demand_need_not_be_loaded_and_is_checked_while_it_is():
    wanted = plan()
    wanted["instances"][0]["models"][0]["resident"] = False
    seen = observations(held={})
    seen.instances["gpu0-1"].models[NAME] = ObservedModel()
    seen.instances["gpu0-1"].loaded = []
    result = check_plan(wanted, seen)
    assert (result.verdict, result.diagnosis) == ("pass", [])
    assert checks(result)["loaded"] is None and "memory " + A not in checks(result)
    seen.instances["gpu0-1"].models[NAME].load_error = "out of memory"
    assert check_plan(wanted, seen).verdict == "fail", "a load that failed is no model that is not asked for"
    assert check_plan(wanted, observations()).verdict == "pass"
    assert check_plan(wanted, observations(held={A: 65 * GIB, B: 300 * MIB})).verdict == "fail"
    wanted["instances"][0]["models"][0]["resident"] = True
    seen.instances["gpu0-1"].models[NAME] = ObservedModel()
    assert findings(check_plan(wanted, seen)) == ["not_loaded"]
