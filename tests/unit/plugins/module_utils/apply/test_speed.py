# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What was changed is held against the tokens/s of the proof before."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import speed
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.proof import Proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.speed import Speeds, compare_speeds
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.slowdown import ProvenPlan
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import history

from tests.unit.plugins.module_utils.host.builders import write

PLAN = {"ollama_version": "0.33.3", "instances": [{"name": "gpu0", "models": [{"name": "tiny:latest"}]}]}
BEFORE = ProvenPlan(dict(PLAN, ollama_version="0.32.15"), {"gpu0": {"tiny:latest": 100.0}}, 3)


def proof(rate, verdict="pass", diagnosis=(), problem=""):
    model = {"name": "tiny:latest", "tokens_per_second": rate, "notes": []}
    evidence = {"verdict": verdict, "instances": [{"name": "gpu0", "models": [model]}], "diagnosis": list(diagnosis)}
    return Proof(evidence, problem)


def compared(first, *again, allowed=20, before=BEFORE, plan=None):
    """(the proof, how often it was measured again)."""
    waiting = list(again)
    found = compare_speeds(plan or PLAN, first, Speeds(before, allowed), lambda: waiting.pop(0))
    return found, len(again) - len(waiting)


def test_a_model_that_is_as_fast_as_before_is_measured_once():
    assert compared(proof(90.0)) == (proof(90.0), 0)
    assert compared(proof(1.0), before=None) == (proof(1.0), 0)
    assert compared(proof(1.0), allowed=100) == (proof(1.0), 0)


def test_a_model_that_is_slower_is_a_finding_after_it_was_measured_again():
    found, again = compared(proof(50.0), proof(49.0), proof(51.0))
    assert again == 2 and found.verdict == "fail"
    assert found.problem.startswith(
        "Instance gpu0: tiny:latest generates 51.0 tokens/s with Ollama 0.33.3, and had 100.0"
    )
    assert [one["finding"] for one in found.evidence["diagnosis"]] == ["slower"]


def test_one_generation_that_is_disturbed_is_no_finding():
    found, again = compared(proof(50.0), proof(95.0))
    assert (found.problem, found.verdict, again) == ("", "pass", 1)


def test_what_fails_while_it_is_measured_again_is_the_problem():
    found, again = compared(proof(50.0), proof(50.0, "fail", problem="The engine died."))
    assert (found.problem, again) == ("The engine died.", 1)


def test_a_proof_that_failed_is_left():
    failed = proof(1.0, "fail", problem="No.")
    assert compared(failed) == (failed, 0)


def test_what_is_unproven_and_accepted_comes_after_what_is_slower():
    unproven = {"finding": "unproven", "evidence": "e", "remedy": "r", "instance": "gpu0", "model": ""}
    slow = proof(50.0, "unproven", [unproven])
    found, _again = compared(slow, slow, slow)
    assert [one["finding"] for one in found.evidence["diagnosis"]] == ["slower", "unproven"]


def test_what_is_not_judged_is_told():
    models = [{"name": "tiny:latest", "kv_cache_type": "q8_0"}]
    found, again = compared(proof(50.0), plan=dict(PLAN, instances=[{"name": "gpu0", "models": models}]))
    assert again == 0 and found.verdict == "pass"
    (note,) = found.evidence["speed_notes"]
    assert "the KV cache type" in note


@pytest.fixture(name="plans")
def _plans(tmp_path, monkeypatch):
    """The kept plans of a made-up host, and its plan."""
    monkeypatch.setattr(paths, "PLAN", write(tmp_path / "plan.json", json.dumps(PLAN, indent=1)))
    monkeypatch.setattr(paths, "PLANS", str(tmp_path / "plans"))
    plans = []
    monkeypatch.setattr(history, "read_history", lambda: {"plans": plans, "leftovers": []})
    return plans


def keep(number, plan):
    write(pathlib.Path(paths.kept_plan(number)) / paths.kept_name(paths.PLAN), json.dumps(plan))


def test_the_proof_before_is_that_of_the_plan_in_force(plans):
    assert speed.proven_before(PLAN) is None
    keep(4, PLAN)  # formatted in another way
    plans.append({"tokens_per_second": {"gpu0": {"tiny:latest": 1.5}}, "number": 4})
    assert speed.proven_before(PLAN) == ProvenPlan(PLAN, {"gpu0": {"tiny:latest": 1.5}}, 4)
    assert speed.proven_before({}) is None
    # A plan that was written after the last proof.
    keep(5, BEFORE.plan)
    plans.append({"tokens_per_second": {}, "number": 5})
    assert speed.proven_before(PLAN) is None
