# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `check`: the evidence without loading or generating, kept as the verdict and the metrics of the host."""

from __future__ import annotations

from typing import Any

from ..host.run_lock import LockHeld, run_lock
from . import healing, metrics_file, observing, verdict_file
from .applied import applied_plan
from .observing import Seen
from .shapes import FINE, OF_VERDICT, Answer, Line, Places
from .verdicts import verdict_lines, verdicts
from .version import VERSION

#: What the lock of the one check that heals is named, after that of the host.
_HEALING = "-healing"
_HEALER = "another check heals the host"
_LEFT_ALONE = (
    "The host is not checked now. A run of the role proves it itself; during a load or a benchmark, a check would find "
    "models that are not loaded."
)


def check(places: Places, wait: float = 0, heals: bool = False) -> Answer:
    """Check the host once and write its verdict, unless a run, a load or a benchmark is under way.

    Args:
        places: of the host.
        wait: seconds to wait for its end.
        heals: whether what is not as planned is loaded again, and restarted.

    Raises:
        Refused: there is no plan, or it cannot be checked.
    """
    plan = applied_plan(places.plan)
    try:
        with run_lock(wait=wait, shared=True, path=places.lock, after_others=True):
            seen = observing.observe(plan)
            done: list[Line] = []
            healing.begin_anew(places, seen.evidence)
            if heals:
                with run_lock(path=places.lock + _HEALING, holder=_HEALER):  # two that heal would do everything twice
                    seen, done = healing.heal(places, plan, seen)
    except LockHeld as held:
        return Answer(FINE, [Line("%s %s" % (held, _LEFT_ALONE))], {"checked": False, "reason": str(held)})
    content = dict(kept(plan, seen), healing=[line.text for line in done])
    verdict_file.write(places.verdict, content)
    done += metrics_file.write(places, plan, seen)
    return Answer(OF_VERDICT[seen.evidence.verdict], done + verdict_lines(seen.evidence), dict(content, checked=True))


def kept(plan: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """Return what is kept of a check: the evidence as placement_check returns it, and what it is about."""
    data = seen.data()
    of_instance = verdicts(seen.evidence)
    for instance in data["instances"]:
        instance["verdict"] = of_instance[instance["name"]]
    return dict(data, program_version=VERSION, ollama_version=plan.get("ollama_version"))
