# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `check`: the evidence without loading or generating, kept as the verdict and the metrics of the host."""

from __future__ import annotations

from typing import Any

from ..host.run_lock import LockHeld, is_held, run_lock
from . import healing, metrics_file, observing, verdict_file
from .applied import applied_plan
from .configured import just_begun
from .observing import Seen
from .shapes import FINE, OF_VERDICT, Answer, Line, Places
from .verdicts import verdict_lines, verdicts
from .version import VERSION

#: Seconds to wait for loads and other checks, which end soon: after the start of an instance, for one.
OTHERS_SECONDS = 30.0
#: What the lock of the one check that heals is named, after that of the host.
_HEALING = "-healing"
_HEALER = "another check heals the host"
_BEGUN = (
    "A run of the role has begun to change %s within the last hour and has not ended: if it was killed, run the role "
    "again."
)
_LEFT_ALONE = (
    "The host is not checked now. A run of the role proves it itself; during a load or a benchmark, a check would find "
    "models that are not loaded."
)


def check(places: Places, heals: bool = False) -> Answer:
    """Check the host once and write its verdict, unless others are at work on it.

    The end of loads and other checks is waited for; that of a run or a benchmark, which take longer, is not.

    Args:
        places: of the host.
        heals: whether what is not as planned is loaded again, and restarted.

    Raises:
        Refused: there is no plan, or it cannot be checked.
    """
    plan = applied_plan(places.plan)
    try:
        wait = 0 if is_held(places.lock) else OTHERS_SECONDS
        with run_lock(wait=wait, shared=True, path=places.lock, after_others=True):
            begun = just_begun(places)
            if begun:
                return _left_alone(_BEGUN % ", ".join(begun))
            seen = observing.observe(plan)
            done: list[Line] = []
            healing.begin_anew(places, seen.evidence)
            if heals:
                with run_lock(path=places.lock + _HEALING, holder=_HEALER):  # two that heal would do everything twice
                    seen, done = healing.heal(places, plan, seen)
    except LockHeld as held:
        return _left_alone(str(held))
    content = dict(kept(plan, seen), healing=[line.text for line in done])
    verdict_file.write(places.verdict, content)
    done += metrics_file.write(places, plan, seen)
    return Answer(OF_VERDICT[seen.evidence.verdict], done + verdict_lines(seen.evidence), dict(content, checked=True))


def _left_alone(reason: str) -> Answer:
    return Answer(FINE, [Line("%s %s" % (reason, _LEFT_ALONE))], {"checked": False, "reason": reason})


def kept(plan: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """Return what is kept of a check: the evidence as placement_check returns it, and what it is about."""
    data = seen.data()
    of_instance = verdicts(seen.evidence)
    for instance in data["instances"]:
        instance["verdict"] = of_instance[instance["name"]]
    return dict(data, program_version=VERSION, ollama_version=plan.get("ollama_version"))
