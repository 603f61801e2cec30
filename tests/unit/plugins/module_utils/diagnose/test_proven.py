# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the proof of a plan has found is a finding of the diagnosis."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.diagnosis import findings
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import (
    FAIL,
    UNPROVEN,
    Evidence,
    Finding,
    InstanceEvidence,
)

from tests.unit.plugins.module_utils.diagnose.builders import UNIT, found, host


def proof(verdict=FAIL, **changes):
    seen = {
        "finding": "one_gpu_carries_all",
        "evidence": "GPU 0 holds 20 GiB, and the plan has 10 GiB there.",
        "remedy": "Remove main_gpu.",
        "instance": "gpu0-1",
        "model": "llama3:70b",
    }
    instance = InstanceEvidence("gpu0-1", UNIT, "http://127.0.0.1:11434", [], [])
    return Evidence(verdict, [instance], [Finding(**{**seen, **changes})])


CASES = {
    "not_as_planned": (
        host(proof=proof()),
        ["llama3:70b (one_gpu_carries_all): GPU 0 holds 20 GiB", "Remove main_gpu."],
    )
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding
    assert finding.subject == UNIT and finding.confidence == "certain"


def test_it_is_not_sure_where_something_is_unknown():
    assert found(host(proof=proof(UNPROVEN)))["not_as_planned"].confidence == "possible"


def test_a_host_that_is_as_planned():
    assert not found(host(proof=Evidence("pass", [], [])))


def test_what_is_wrong_with_the_host_is_said_once():
    """A driver that cannot be read is seen by each instance."""
    made = proof()
    second = dataclasses.replace(made.diagnosis[0], instance="gpu2-3", model="gemma3:27b")
    third = dataclasses.replace(second, evidence="GPU 2 holds nothing")
    both = dataclasses.replace(made, diagnosis=[*made.diagnosis, second, third])
    one, other = [finding for finding in findings(host(proof=both)) if finding.finding == "not_as_planned"]
    assert one.evidence.startswith("llama3:70b, gemma3:27b on 2 instances (one_gpu_carries_all)") and one.subject == ""
    assert other.evidence.startswith("gemma3:27b (one_gpu_carries_all): GPU 2 holds nothing")


def test_a_finding_of_the_instance_has_its_name():
    assert "gpu0-1 (one_gpu_carries_all)" in found(host(proof=proof(model="")))["not_as_planned"].evidence
