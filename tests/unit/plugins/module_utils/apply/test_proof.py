# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The proof of some instances."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError

from tests.unit.plugins.module_utils.evidence.builders import A, observations, plan


def test_instances_that_are_as_planned(monkeypatch):
    asked = {}

    def collect(wanted, **options):
        asked.update(options, names=[instance["name"] for instance in wanted["instances"]])
        return observations()

    monkeypatch.setattr(proof, "collect", collect)
    names = [plan()["instances"][0]["name"]]
    found = proof.prove(plan(), names, timeout=7)
    assert (found.verdict, found.problem) == ("pass", "") and asked == {"timeout": 7, "names": names}
    assert proof.prove(plan(), []).verdict == "pass"


def test_another_instance_of_the_plan_is_none_of_others(monkeypatch):
    """Its memory is planned, although it is not checked."""
    wanted = plan()
    other = dict(wanted["instances"][0], name="gpu9", unit="ollama@gpu9.service", models=[])
    wanted["instances"].append(other)
    seen = observations()
    for gpu in seen.inventory["gpus"]:
        gpu["processes"].append({"pid": 4711, "name": "x", "used_bytes": 3 << 30, "unit": "ollama@gpu9.service"})
    monkeypatch.setattr(proof, "collect", lambda _plan, **_options: seen)
    found = proof.prove(wanted, [wanted["instances"][0]["name"]])
    assert [entry["name"] for entry in found.evidence["instances"]] == [wanted["instances"][0]["name"]]
    assert not [one for one in found.evidence["diagnosis"] if one["finding"] == "foreign_process"] and A


def test_what_cannot_be_observed_is_not_proven(monkeypatch):
    def collect(_plan, **_options):
        raise OllamaError(500, "broken")

    monkeypatch.setattr(proof, "collect", collect)
    found = proof.prove(plan(), ["gpu0-1"])
    assert (found.verdict, found.evidence) == ("fail", {}) and "cannot be checked: broken" in found.problem


def test_a_look_loads_and_generates_nothing_and_only_what_contradicts_the_plan_is_a_problem(monkeypatch):
    asked, seen = {}, observations()

    def collect(_plan, **options):
        asked.update(options)
        return seen

    monkeypatch.setattr(proof, "collect", collect)
    monkeypatch.setattr(proof.seen_computing, "recall", lambda observed: asked.update(recalled=observed is seen))
    names = [plan()["instances"][0]["name"]]
    assert proof.look(plan(), names).problem == ""
    assert asked == {"load": False, "generate": False, "recalled": True}
    seen.inventory["gpus"].clear()
    assert "does not list" in proof.look(plan(), names).problem


@pytest.mark.parametrize(
    "verdict, accept, good", [("pass", False, True), ("unproven", False, False), ("unproven", True, True)]
)
def test_the_verdict_decides(verdict, accept, good):
    finding = {"instance": "gpu0", "evidence": "e", "finding": "unproven", "remedy": "Look."}
    evidence = {"verdict": verdict, "instances": [], "diagnosis": [finding]}
    assert (proof.judge(evidence, accept) == "") == good
    assert proof.judge(dict(evidence, verdict="fail"), accept)
