# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whose memory it is: MIG devices, other models and other services. test_unproven.py has processes without figures."""

from __future__ import annotations

import copy
import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    NAME,
    OVERHEAD,
    UNIT,
    WITHOUT_LOG,
    A,
    findings,
    join,
    observations,
    plan,
)


def test_memory_of_others_that_the_plan_counted_is_no_finding():
    wanted = plan()
    wanted["gpus"][0]["foreign_bytes"] = 14 * GIB
    seen = observations(others={A: [(77, 14 * GIB, None)]})  # as much as fails below, where the plan did not count it
    assert check_plan(wanted, seen).verdict == "pass"


def test_a_newcomer_that_leaves_the_headroom_alone_is_no_finding():
    assert check_plan(plan(), observations(others={A: [(77, 10 * GIB, None)]})).verdict == "pass"


def test_a_newcomer_that_takes_the_headroom_fails():
    result = check_plan(plan(), observations(others={A: [(77, 14 * GIB, None)]}))
    assert findings(result) == ["foreign_process"]


def test_memory_of_the_plans_other_instances_is_not_foreign():
    wanted = plan()
    other = copy.deepcopy(wanted["instances"][0])
    other.update(name="gpu0", unit="ollama@gpu0.service", models=[])
    wanted["instances"].append(other)
    seen = observations(others={A: [(99, 14 * GIB, "ollama@gpu0.service")]})
    assert check_plan(wanted, seen).verdict == "pass"


def test_a_mig_device_is_a_device_of_its_own():
    """NVML lists the processes of its MIG devices on the GPU too: that is not memory on another GPU."""
    wanted, seen = (
        plan({"MIG-1": 5 * GIB}, outcome="single"),
        observations(held={A: 5 * GIB + OVERHEAD}, **WITHOUT_LOG, utilization_peak={}, busy_processes={}),
    )
    parent = seen.inventory["gpus"][0]
    parent["mig"] = {
        "mode": "enabled",
        "devices": [
            {
                "uuid": "MIG-1",
                "gpu_instance_id": 1,
                "memory": {"total_bytes": 20 * GIB, "free_bytes": 14 * GIB, "used_bytes": 6 * GIB},
                "processes": list(parent["processes"]),
            }
        ],
    }
    assert check_plan(wanted, seen).verdict == "pass"


def test_two_models_of_an_instance_are_distinguished_by_process():
    wanted, seen = plan({A: 5 * GIB}, outcome="single"), observations(held={A: 5 * GIB + OVERHEAD}, **WITHOUT_LOG)
    second = copy.deepcopy(wanted["instances"][0]["models"][0])
    second.update(create_as="other:latest")
    wanted["instances"][0]["models"].append(second)
    found = copy.deepcopy(seen.instances["gpu0-1"].models[NAME])
    found.engine = dataclasses.replace(found.engine, pid=4300)
    found.busy_processes = {A: {4300: 44}}
    seen.instances["gpu0-1"].models["other:latest"] = found
    seen.instances["gpu0-1"].loaded.append("other:latest")
    result = check_plan(wanted, seen)
    assert findings(result) == ["cpu_only"]
    assert result.diagnosis[0].model == "other:latest"
    join(seen, 0, {"pid": 4300, "name": "llama-server", "used_bytes": 5 * GIB + OVERHEAD, "unit": UNIT})
    assert check_plan(wanted, seen).verdict == "pass"
