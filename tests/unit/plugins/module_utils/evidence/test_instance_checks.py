# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the plan does not name is a finding: models loaded beside, and other processes of the unit on a GPU."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    LISTED,
    MIB,
    NAME,
    UNIT,
    A,
    B,
    findings,
    join,
    observations,
    plan,
)


def instance_checks(evidence):
    return {check.name: check.passed for check in evidence.instances[0].checks if check.name.startswith("only_")}


def test_an_instance_that_is_as_planned_passes():
    assert instance_checks(check_plan(plan(), observations())) == {"only_planned_models": True, "only_engines": True}


def test_a_model_that_is_loaded_beside_is_named():
    seen = observations()
    seen.instances["gpu0-1"].loaded.append("stray:latest")
    result = check_plan(plan(), seen)
    assert (result.verdict, findings(result)) == ("fail", ["unplanned_model"])
    assert "stray:latest" in result.diagnosis[0].evidence and NAME in result.diagnosis[0].remedy
    assert (result.diagnosis[0].instance, result.diagnosis[0].model) == ("gpu0-1", "")


def test_the_name_of_the_plan_is_found_in_any_case():
    seen = observations()
    seen.instances["gpu0-1"].loaded = [NAME.upper()]
    assert check_plan(plan(), seen).verdict == "pass"


@pytest.mark.parametrize("held", [1, 300 * MIB, 10 * GIB, None])
def test_another_process_of_the_unit_is_named(held):
    seen = observations()
    join(seen, 1, dict(LISTED, pid=99, used_bytes=held))
    result = check_plan(plan(), seen)
    assert (result.verdict, findings(result)) == ("fail", ["unplanned_process"])
    assert "process 99 (llama-server, unit %s) holds" % UNIT in result.diagnosis[0].evidence
    assert "on GPU 1 (RTX A6000)" in result.diagnosis[0].evidence
    assert "99" in result.diagnosis[0].remedy


def test_each_of_several_processes_is_to_be_looked_at_before_it_is_killed():
    seen = observations()
    for pid in (99, 77):
        join(seen, 1, dict(LISTED, pid=pid))
    remedy = check_plan(plan(), seen).diagnosis[0].remedy
    assert "`ps -o pid=,ppid= -p 77,99` prints each process" in remedy and "kill 77" not in remedy


def test_memory_of_a_process_that_a_killed_server_has_left_is_not_the_engines():
    """It holds everything, and the engine that answers a bare context."""
    seen = observations(
        held={A: 300 * MIB, B: 300 * MIB}, others={A: [(99, 33 * GIB, UNIT)], B: [(99, 32 * GIB, UNIT)]}
    )
    result = check_plan(plan(), seen)
    assert result.verdict == "fail"
    assert findings(result) == ["layers_on_cpu", "unplanned_process"]
    assert "process 99" in result.diagnosis[1].evidence


def test_the_engine_that_answers_is_on_no_gpu_at_all():
    seen = observations(held={}, others={A: [(99, 33 * GIB, UNIT)], B: [(99, 32 * GIB, UNIT)]})
    assert findings(check_plan(plan(), seen)) == ["cpu_only", "unplanned_process"]


def test_the_engines_of_all_planned_models_are_known():
    wanted, seen = plan(), observations()
    second = copy.deepcopy(wanted["instances"][0]["models"][0])
    second.update(create_as="other:latest")
    wanted["instances"][0]["models"].append(second)
    join(seen, 0, dict(LISTED, pid=4300, used_bytes=GIB))
    result = check_plan(wanted, seen)
    assert "unplanned_process" in findings(result)  # the second model is not loaded, so this is not its engine


@pytest.mark.parametrize("held", [1, 300 * MIB, GIB - 1, None])
def test_any_memory_on_a_gpu_outside_the_plan_is_a_finding(held):
    seen = observations(held={A: 6 * GIB})
    seen.inventory["gpus"][1]["processes"] = [dict(LISTED, used_bytes=held)]
    seen.instances["gpu0-1"].models[NAME].log = None
    seen.instances["gpu0-1"].models[NAME].log_missing = "the journal has been rotated"
    result = check_plan(plan({A: 6 * GIB}, outcome="single"), seen)
    assert (result.verdict, findings(result)) == ("fail", ["far_from_predicted"])
    assert "GPU 1 (RTX A6000)" in result.diagnosis[0].evidence and "CUDA_VISIBLE_DEVICES" in result.diagnosis[0].remedy


def test_what_is_unknown_is_not_proven():
    seen = observations()
    seen.instances["gpu0-1"].loaded = None
    result = check_plan(plan(), seen)
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    assert instance_checks(result)["only_planned_models"] is None
