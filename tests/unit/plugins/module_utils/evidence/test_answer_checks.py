# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is checked of answers, and what is not required; test_less_evidence.py has each lie."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import ObservedInstance, ObservedModel

from tests.unit.plugins.module_utils.evidence.builders import ANSWER, NAME, findings, observations, plan

ALIKE = dataclasses.replace(ANSWER, server="ollama@gpu1.service")


def check(name, *others, **changes):
    """The check of this name, and the evidence, of a model whose replicas have answered this."""
    seen = observations(**changes)
    for number, one in enumerate(others):
        seen.instances["replica%d" % number] = ObservedInstance(models={NAME: ObservedModel(answer=one)})
    evidence = check_plan(plan(), seen)
    found = [one for one in evidence.instances[0].models[0].checks if one.name == name]
    return (found or [None])[0], evidence


def test_an_answer_of_a_model_passes_and_one_without_replicas_is_not_compared():
    found, evidence = check("answer")
    assert found.passed is True and evidence.verdict == "pass"
    assert check("replicas")[0] is None
    assert check("replicas", ALIKE)[0].passed is True


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"answer": dataclasses.replace(ANSWER, tokens=())}, "no log-probabilities"),
        ({"answer": None, "not_generated": "no generation was run"}, "no generation was run"),
        ({"answer": dataclasses.replace(ANSWER, tokens=(), text="", error="404 page not found")}, "404 page"),
    ],
    ids=["an old release", "not wanted", "cannot be asked"],
)
def test_what_cannot_be_asked_is_unknown_for_that_check_only(changes, words):
    found, evidence = check("answer", **changes)
    assert found.passed is None and not found.required and words in found.observed
    assert evidence.verdict == "pass" and not evidence.diagnosis


def test_replicas_that_cannot_be_compared_are_unknown_for_that_check_only():
    found, evidence = check("replicas", dataclasses.replace(ALIKE, tokens=()))
    assert found.passed is None and not found.required and evidence.verdict == "pass"


def test_an_answer_that_nobody_has_looked_at_is_not_proven():
    found, evidence = check("answer", answer=None)
    assert found.required and evidence.verdict == "unproven"
    assert "its answer is unknown" in evidence.diagnosis[0].evidence


def test_a_wrong_answer_is_said_beside_what_is_wrong_with_the_memory():
    garbage = dataclasses.replace(ANSWER, text="!" * 9, tokens=())
    evidence = check("answer", held={}, answer=garbage)[1]
    assert findings(evidence) == ["cpu_only", "answer_one_token"]
    assert NAME in evidence.diagnosis[1].evidence and "GGML_CUDA_P2P" in evidence.diagnosis[1].remedy
