# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings of the proof: where an instance is not as its plan says. Pure."""

from __future__ import annotations

from typing import Iterator

from ..evidence.shapes import FAIL
from .shapes import CERTAIN, POSSIBLE, Finding, HostEvidence


def proof_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what the comparison with the applied plan has found."""
    if evidence.proof is None:
        return
    units = {instance.name: instance.unit for instance in evidence.proof.instances}
    for found in evidence.proof.diagnosis:
        yield Finding(
            "not_as_planned",
            "%s (%s): %s" % (found.model or found.instance, found.finding, found.evidence.rstrip(".")),
            CERTAIN if evidence.proof.verdict == FAIL else POSSIBLE,
            found.remedy,
            subject=units.get(found.instance, ""),
        )
