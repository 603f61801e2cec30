# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Hold what was changed against the tokens/s of the proof before. A model that looks slower is measured again, because
one generation may be disturbed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Optional

from ..evidence.shapes import FAIL
from ..evidence.slowdown import ProvenPlan, Slowdowns, measured_speeds, slowdowns
from ..evidence.verdict_text import summary
from ..host import history
from .proof import Proof

#: How often a model that looks slower is measured; the fastest counts.
MEASUREMENTS = 3


@dataclasses.dataclass(frozen=True)
class Speeds:
    """What is compared: the plan that was proven before, None where there is none, and by how many per cent a model may
    be slower."""

    before: Optional[ProvenPlan] = None
    allowed_percent: float = 100


def proven_before(applied: dict[str, Any]) -> Optional[ProvenPlan]:
    """Return the plan that is written on this host with what its proof has measured; None where that is not known.

    Args:
        applied: the plan that is written on this host.
    """
    plans = history.read_history()["plans"]
    if not applied or not plans or history.kept_digest(plans[-1]["number"]) != history.digest_in_force():
        return None
    return ProvenPlan(applied, plans[-1]["tokens_per_second"], plans[-1]["number"])


def compare_speeds(plan: dict[str, Any], proof: Proof, speeds: Speeds, prove_again: Callable[[], Proof]) -> Proof:
    """Return a proof that also says which models are slower than allowed.

    Args:
        plan: of module placement_info.
        proof: of the changed instances, without a problem.
        speeds: what it is compared with.
        prove_again: proves them again.

    Raises:
        LibraryMissing: see proof.prove.
    """
    if speeds.before is None or proof.problem:
        return proof
    fastest = measured_speeds(proof.evidence["instances"])
    found = slowdowns(ProvenPlan(plan, fastest), speeds.before, speeds.allowed_percent)
    for _again in range(MEASUREMENTS - 1):
        if not found.findings:
            break
        proof = prove_again()
        if proof.problem:
            return proof
        fastest = _fastest(fastest, measured_speeds(proof.evidence["instances"]))
        found = slowdowns(ProvenPlan(plan, fastest), speeds.before, speeds.allowed_percent)
    return _told(proof, found)


def _fastest(one: dict[str, dict[str, float]], other: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {model: max(speed, other.get(name, {}).get(model, 0)) for model, speed in models.items()}
        for name, models in one.items()
    }


def _told(proof: Proof, found: Slowdowns) -> Proof:
    """The proof with what was found of the speeds."""
    evidence = dict(proof.evidence)
    if found.notes:
        evidence["speed_notes"] = found.notes
    if not found.findings:
        return dataclasses.replace(proof, evidence=evidence)
    findings = [dataclasses.asdict(finding) for finding in found.findings]
    evidence.update(verdict=FAIL, diagnosis=findings + proof.evidence["diagnosis"])
    return Proof(evidence, summary(evidence))
