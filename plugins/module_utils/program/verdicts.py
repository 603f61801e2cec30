# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The verdict of the host in words: what evidence says of each instance. Pure."""

from __future__ import annotations

from ..evidence.shapes import FAIL, PASS, UNPROVEN, Evidence, InstanceEvidence, verdict_of
from .shapes import LEVEL_OF_VERDICT, Line

_WORDS = {PASS: "%s is as planned", FAIL: "%s is not as planned", UNPROVEN: "it is not proven that %s is as planned"}


def instance_verdict(evidence: Evidence, instance: InstanceEvidence) -> str:
    """Return the verdict of one instance: that of its checks, and of its models'."""
    checks = list(instance.checks) + [check for model in instance.models for check in model.checks]
    verdict = verdict_of(checks)
    found = any(entry.instance == instance.name for entry in evidence.diagnosis)
    return FAIL if verdict == PASS and found else verdict


def verdicts(evidence: Evidence) -> dict[str, str]:
    """Return {instance: verdict}."""
    return {instance.name: instance_verdict(evidence, instance) for instance in evidence.instances}


def verdict_lines(evidence: Evidence, host: str = "the host") -> list[Line]:
    """Return the verdict and what it is based on, the worst first.

    Args:
        evidence: of the plan.
        host: what the verdict is about, for the sentence.
    """
    level = LEVEL_OF_VERDICT[evidence.verdict]
    lines = [Line("Verdict: %s (%s)." % (evidence.verdict, _WORDS[evidence.verdict] % host), level)]
    of_instance = verdicts(evidence)
    for entry in evidence.diagnosis:
        found = of_instance.get(entry.instance, FAIL)
        text = "%s: %s. Remedy: %s" % (entry.finding, entry.evidence.rstrip("."), entry.remedy)
        lines.append(Line(text, LEVEL_OF_VERDICT[found]))
    return lines
