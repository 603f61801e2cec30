# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is checked of a plan before evidence is gathered for it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import planned

INSTANCE = {"name": "gpu0", "unit": "ollama@gpu0.service", "url": "http://127.0.0.1:11434", "models": [{"name": "a"}]}


def test_a_plan_that_can_be_checked():
    assert planned.plan_problem({"feasible": True, "instances": [INSTANCE]}) is None
    assert planned.plan_problem({"instances": []}) is None


@pytest.mark.parametrize(
    "plan, words",
    [
        ({}, "/etc/ollama-multigpu/plan.json"),
        ({"instances": "none"}, "no list of instances"),
        ({"instances": [], "feasible": False, "models": [{"name": "a", "reason": "too big"}]}, "a: too big"),
        ({"instances": [], "feasible": False}, "see its models"),
        ({"instances": ["gpu0"]}, "name, unit, url, models"),
        ({"instances": [dict(INSTANCE, unit="")]}, "lacks unit"),
        ({"instances": [dict(INSTANCE, models=[{}])]}, "A model of instance gpu0 of the plan has no name"),
        ({"instances": [dict(INSTANCE, models=["a"])]}, "A model of instance gpu0 of the plan has no name"),
    ],
)
def test_one_sentence_says_why_not(plan, words):
    assert words in planned.plan_problem(plan)


def test_gpus_with_bytes_of_a_model():
    devices = [{"uuid": "A", "total_bytes": 5}, {"uuid": "B", "total_bytes": 0}, {"uuid": "C"}]
    assert planned.planned_uuids({"predicted": {"devices": devices}}) == ["A"]
    assert planned.planned_uuids({}) == planned.planned_uuids({"predicted": {"devices": None}}) == []


def test_some_instances_of_a_plan():
    plan = {"instances": [{"name": "gpu0"}, {"name": "gpu1"}]}
    assert planned.instances_of(plan) == plan["instances"]
    assert planned.instances_of(plan, ["gpu1", "gpu7"]) == [{"name": "gpu1"}] and planned.instances_of({}, []) == []
