# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Prove what was changed: the same checks as module placement_check, limited to some instances of a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from ..evidence import seen_computing
from ..evidence.checks import check_plan
from ..evidence.collect import collect
from ..evidence.planned import instances_of
from ..evidence.shapes import FAIL, UNPROVEN
from ..evidence.verdict_text import summary
from ..ollama.client import OllamaError


@dataclasses.dataclass(frozen=True)
class Proof:
    """The evidence of some instances as module placement_check returns it, {} where none could be gathered, and the
    `problem` in a sentence; "" where the instances are as planned."""

    evidence: dict = dataclasses.field(default_factory=dict)
    problem: str = ""

    @property
    def verdict(self) -> str:
        """The verdict of the evidence, "fail" without one."""
        return str(self.evidence.get("verdict", FAIL))


def prove(plan: dict[str, Any], names: Collection[str], accept_unproven: bool = False, timeout: float = 300.0) -> Proof:
    """Load what is not loaded, and compare instances with their plan.

    Args:
        plan: of module placement_info, whole: the other instances of the host are in it.
        names: of the instances.
        accept_unproven: whether what is neither proven nor contradicted is good enough.
        timeout: seconds without progress after which a load or generation is given up.

    Raises:
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs.
    """
    if not names:
        return Proof({"verdict": "pass", "instances": [], "diagnosis": []})
    try:
        observed = collect(dict(plan, instances=instances_of(plan, names)), timeout=timeout)
    except OllamaError as error:
        return Proof(problem="The instances cannot be checked: %s." % error)
    seen_computing.remember(observed)
    evidence = dataclasses.asdict(check_plan(plan, observed, only=names))
    return Proof(evidence, judge(evidence, accept_unproven))


def look(plan: dict[str, Any], names: Collection[str]) -> Proof:
    """Compare instances with their plan without loading or generating anything. Only what contradicts the plan is a
    problem.

    Args:
        plan: of module placement_info, whole.
        names: of the instances.

    Raises:
        LibraryMissing: see `prove`.
    """
    try:
        observed = collect(dict(plan, instances=instances_of(plan, names)), load=False, generate=False)
    except OllamaError as error:
        return Proof(problem="The instances cannot be checked: %s." % error)
    seen_computing.recall(observed)
    evidence = dataclasses.asdict(check_plan(plan, observed, only=names))
    return Proof(evidence, judge(evidence, accept_unproven=True))


def judge(evidence: dict[str, Any], accept_unproven: bool = False) -> str:
    """Return why instances are not good enough to stay as they are, in a sentence; "" where they are.

    Args:
        evidence: of these instances, as module placement_check returns it.
        accept_unproven: see `prove`.
    """
    if evidence["verdict"] == FAIL or (evidence["verdict"] == UNPROVEN and not accept_unproven):
        return summary(evidence)
    return ""
