# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The verdict of each instance, and in words."""

from __future__ import annotations

import copy
import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.verdicts import verdict_lines, verdicts

from tests.unit.plugins.module_utils.evidence.builders import A, B, observations, plan

GIB = 1024**3


def test_an_instance_that_is_fine_stays_fine_beside_one_that_is_not():
    wanted = plan()
    other = copy.deepcopy(wanted["instances"][0])
    other.update(name="gpu9", unit="ollama@gpu9.service", url="http://127.0.0.1:11500")
    wanted["instances"].append(other)
    evidence = check_plan(wanted, observations())  # nothing is known of the second one
    assert verdicts(evidence)["gpu9"] != "pass" and verdicts(evidence)["gpu0-1"] == "pass"


def test_a_finding_alone_is_a_failure():
    evidence = check_plan(plan(), observations(held={A: 65 * GIB, B: 298 << 20}))
    assert verdicts(evidence) == {"gpu0-1": "fail"}
    fine = check_plan(plan(), observations())
    assert verdicts(dataclasses.replace(fine, diagnosis=evidence.diagnosis)) == {"gpu0-1": "fail"}


def test_the_words_have_finding_and_remedy_with_the_level_of_the_verdict():
    lines = verdict_lines(check_plan(plan(), observations(held={A: 65 * GIB, B: 298 << 20})))
    assert [line.level for line in lines] == [3] * len(lines)
    assert lines[0].text.startswith("Verdict: fail") and ". Remedy: " in lines[1].text
    assert [line.level for line in verdict_lines(check_plan(plan(), observations()))] == [6]
