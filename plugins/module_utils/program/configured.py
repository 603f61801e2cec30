# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What each instance is configured to serve: the plan that was written with its environment file.

The plan of the host is written at the end of a run, after the proof. While a run is under way, or was killed, an
instance may already run with the next plan; what it is to load is in its own file.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Optional

from ..common import environment_file, secrets
from ..common.regular import read_regular
from ..evidence.planned import instances_of, plan_problem, planned_uuids
from ..host.json_file import read_object
from .shapes import NO_PLAN, Places, Refused

_MOST_ENVIRONMENT = 1024 * 1024
#: How long a run that has written the plan of an instance may take to write that of the host.
_RUN_SECONDS = 3600


@dataclass(frozen=True)
class Configured:
    """An instance as it is configured.

    Attributes:
        name: of the instance.
        plan: what evidence needs: the instances of this host as they are configured, with the release of this one.
        unfinished: whether the plan of the host has another one: a run is under way, or was killed.
    """

    name: str
    plan: dict[str, Any]
    unfinished: bool = False

    @property
    def instance(self) -> dict[str, Any]:
        """The entry of the plan."""
        return instances_of(self.plan, [self.name])[0]

    def gpu_uuids(self) -> list[str]:
        """Return the UUIDs of the GPUs that its models are planned on."""
        return sorted({uuid for model in self.instance["models"] for uuid in planned_uuids(model)})


def configured(places: Places) -> dict[str, Configured]:
    """Return {name: Configured} of all instances of this host.

    Raises:
        Refused: there is none.
    """
    applied = _of_plan(read_object(places.plan))
    written = {name: plan for name in _names(places) for plan in [_written(places, name)] if plan}
    chosen = {
        name: _chosen(applied.get(name), written.get(name), places, name) for name in sorted({*applied, *written})
    }
    if not chosen:
        raise Refused(NO_PLAN, "There is no plan on this host: run the playbook gpufleet.ollama.site for it first.")
    instances = [instance for plan in chosen.values() for instance in plan["instances"]]
    return {
        name: Configured(name, dict(plan, instances=instances), name in written and applied.get(name) != plan)
        for name, plan in chosen.items()
    }


def just_begun(places: Places) -> list[str]:
    """Return the names of the unfinished instances that a run has begun to change within the last hour.

    Between two switches, a run does not hold the lock. One that was killed has no more to do after that time.
    """
    try:
        unfinished = [one.name for one in configured(places).values() if one.unfinished]
    except Refused:  # a plan without instances
        return []
    return [name for name in unfinished if _age(os.path.join(places.instances, name + ".json")) < _RUN_SECONDS]


def _age(path: str) -> float:
    """Seconds since a file was written, or until then where the clock was set back; more than any limit without it."""
    try:
        return abs(time.time() - os.lstat(path).st_mtime)
    except OSError:
        return float("inf")


def _of_plan(plan: Optional[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{name: plan of one instance} of the plan of a host; {} where it cannot be used."""
    if plan is None or plan_problem(plan):
        return {}
    shared = {key: plan.get(key) for key in ("ollama_version", "gpus")}
    return {instance["name"]: dict(shared, instances=[instance]) for instance in plan["instances"]}


def _names(places: Places) -> list[str]:
    names = os.listdir(places.instances) if os.path.isdir(places.instances) else []
    return [name[: -len(".json")] for name in names if name.endswith(".json") and not name.startswith(".")]


def _written(places: Places, name: str) -> Optional[dict[str, Any]]:
    return _of_plan(read_object(os.path.join(places.instances, name + ".json"))).get(name)


def _chosen(
    applied: Optional[dict[str, Any]], written: Optional[dict[str, Any]], places: Places, name: str
) -> dict[str, Any]:
    """Return which of two plans an instance is configured with: the one that was written with its environment.

    A switch that went back may have left the other file. Where the environment does not tell, nothing is served that
    only one of the plans has.
    """
    if applied is None or written is None or applied == written:
        return written or applied or {}
    found = _environment(places, name)
    fits = [plan for plan in (written, applied) if _agrees(found, plan["instances"][0])]
    if fits:
        return fits[0]
    (first,), (second,) = written["instances"], applied["instances"]
    return dict(written, instances=[dict(first, models=[one for one in first["models"] if one in second["models"]])])


def _environment(places: Places, name: str) -> dict[str, str]:
    try:
        text = read_regular(os.path.join(places.instances, name + ".env"), _MOST_ENVIRONMENT)
    except OSError:
        return {}
    return environment_file.parse(text.decode("utf-8", "surrogateescape"))


def _agrees(found: dict[str, str], instance: dict[str, Any]) -> bool:
    planned = instance.get("environment") or {}
    return set(found) == set(planned) and all(
        value == secrets.HIDDEN or found[name] == str(value) for name, value in planned.items()
    )
