# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host that is as planned passes, and only that; a model planned for the CPU passes on the CPU."""

from __future__ import annotations

import copy
import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import DeviceEvidence

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    MIB,
    NAME,
    OVERHEAD,
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
    assert model.devices == [
        DeviceEvidence(
            uuid=A,
            predicted_bytes=33 * GIB + OVERHEAD,
            engine_bytes=33 * GIB,
            observed_bytes=33 * GIB + OVERHEAD,
            utilization_peak=47,
        ),
        DeviceEvidence(
            uuid=B,
            predicted_bytes=32 * GIB + OVERHEAD,
            engine_bytes=32 * GIB,
            observed_bytes=32 * GIB + OVERHEAD,
            utilization_peak=44,
        ),
    ]


def test_it_passes_without_a_journal():
    result = check_plan(plan(), observations(log=None, device_uuids={}))
    assert result.verdict == "pass"
    assert checks(result)["layers"] is None
    assert checks(result)["engine_dry_run"] is None


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
        ps={"name": NAME, "size": 0, "size_vram": 0, "context_length": 32768},
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
    partial = {"ps": {"name": NAME, "size": 66 * GIB, "size_vram": 40 * GIB, "context_length": 32768}}
    good = log(
        layers=(30, 49),
        buffers={"CUDA0": 20 * GIB, "CUDA1": 20 * GIB, "CPU": 25 * GIB},
        dry_run={"CUDA0": 20 * GIB, "CUDA1": 20 * GIB},
    )
    assert check_plan(wanted, observations(held=held, log=good, **partial)).verdict == "pass"
    fewer = dataclasses.replace(good, layers=29)
    assert findings(check_plan(wanted, observations(held=held, log=fewer, **partial))) == ["layers_on_cpu"]


def test_a_gpu_without_utilization_passes_and_the_check_says_so():
    result = check_plan(plan(), observations(utilization_peak={A: None, B: None}))
    assert result.verdict == "pass"
    assert checks(result)["utilization " + A] is None
