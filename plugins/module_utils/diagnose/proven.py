# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where an instance differs from its plan, by the comparison of the evidence. Pure."""

from __future__ import annotations

from typing import Iterator

from ..evidence import shapes as evidence_shapes
from ..evidence.shapes import FAIL
from .shapes import CERTAIN, POSSIBLE, Finding, HostEvidence


def proof_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what the comparison with the applied plan has found."""
    if evidence.proof is None:
        return
    units = {instance.name: instance.unit for instance in evidence.proof.instances}
    # What is wrong with the host itself, such as with its driver, is found for each model: it is told once.
    alike: dict[tuple[str, str, str], list[evidence_shapes.Finding]] = {}
    for found in evidence.proof.diagnosis:
        alike.setdefault((found.finding, found.evidence, found.remedy), []).append(found)
    for (kind, seen, remedy), all_found in alike.items():
        names = dict.fromkeys(found.model or found.instance for found in all_found)
        instances = {found.instance for found in all_found}
        where = " on %d instances" % len(instances) if len(instances) > 1 else ""
        yield Finding(
            "not_as_planned",
            "%s%s (%s): %s" % (", ".join(names), where, kind, seen.rstrip(".")),
            CERTAIN if evidence.proof.verdict == FAIL else POSSIBLE,
            remedy,
            subject="" if where else units.get(all_found[0].instance, ""),
        )
