# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the answers of models, by the rules of the evidence (evidence/answers.py). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import answers
from .shapes import CERTAIN, LIKELY, Answer, Finding, HostEvidence


def answer_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what is wrong with the answers of models, where they were asked."""
    for one in evidence.answers:
        for fault in answers.faults(one):
            yield _finding(one, fault)
    for beside in answers.compared(evidence.answers):
        if beside.fault:
            yield _finding(beside.answer, beside.fault)


def _finding(one: Answer, fault: answers.Fault) -> Finding:
    seen = "%s of %s %s" % (one.model, one.server, fault.seen)
    confidence = CERTAIN if fault.certain else LIKELY
    return Finding(fault.finding, seen, confidence, answers.REMEDY, subject=one.server)
