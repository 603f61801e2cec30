# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Watch instances for a time after their proof: an engine may end a minute after it has generated.

Nobody would notice it otherwise, because Ollama starts another engine for the next request. A process does not tell
whether it ended by itself or was stopped by its server, so every end counts where all models of the instance are to
stay loaded. Where some are loaded on demand, engines come and go; there it counts that a model which is to stay loaded
is not.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from ..evidence import engines
from ..evidence.planned import instances_of
from .proof import Proof, look, prove

#: Between two looks at the processes.
POLL_SECONDS = 1.0
_REMEDY = (
    "Its last lines are in journalctl -u %s. A client that asks with options of its own has its engine exchanged as "
    "well: if that is the reason, let it ask with those of the plan."
)


def watch(plan: dict[str, Any], names: Collection[str], seconds: float, accept_unproven: bool = False) -> Proof:
    """Watch instances that are proven, then prove them once more.

    Args:
        plan: of module placement_info, whole.
        names: of the instances.
        seconds: for which their engines have to run.
        accept_unproven: see `prove`.

    Returns:
        The last proof, or the one that shows what is wrong.

    Raises:
        LibraryMissing: see proof.prove.
    """
    watched = instances_of(plan, names)
    before = {instance["name"]: _processes(instance) for instance in watched}
    begun = time.monotonic()
    proof = look(plan, names)
    while not proof.problem and time.monotonic() - begun < seconds:
        time.sleep(min(POLL_SECONDS, max(0.0, begun + seconds - time.monotonic())))
        ended = [instance for instance in watched if before[instance["name"]] - _processes(instance)]
        if ended:
            proof = _ended(plan, ended, before, time.monotonic() - begun)
            before.update({instance["name"]: _processes(instance) for instance in ended})
    if proof.problem:
        return proof
    return prove(plan, names, accept_unproven)


def _processes(instance: dict[str, Any]) -> set[tuple[int, int]]:
    """(process id, start) of the engines of an instance."""
    return {(engine.pid, engine.started) for engine in engines.engines(instance["unit"], with_mapped=False)}


def _ended(
    plan: dict[str, Any], ended: list[dict[str, Any]], before: dict[str, set[tuple[int, int]]], seconds: float
) -> Proof:
    """What the end of engines means: a proof with a problem, or one without where it may be as planned."""
    proof = look(plan, [instance["name"] for instance in ended])
    told = []
    for instance in ended:
        if all(model.get("resident", True) for model in instance["models"]):
            gone = sorted(pid for pid, _started in before[instance["name"]] - _processes(instance))
            told.append(
                "The engine of %s (process %s) ended within %d seconds after its proof. %s"
                % (instance["name"], ", ".join(map(str, gone)), int(seconds) + 1, _REMEDY % instance["unit"])
            )
    if proof.problem:
        told.append(proof.problem)
    return Proof(proof.evidence, " ".join(told))
