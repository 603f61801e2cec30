# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which instances a run takes down, for how long by what was measured, and what nothing serves meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import served_name

AT_A_SWITCH, AT_A_LOAD = "switch", "load"


@dataclass(frozen=True)
class Downtime:
    """An instance that serves now and is stopped.

    `name` is that of the instance, or of the unit of an Ollama that is taken over. `comes_back` tells whether the new
    plan has it. `seconds` are those that the last switch took it, or that the proof of the plan needed to load its
    models (`measured_at`: "switch" or "load"); None where neither is known. `unserved` are the models of the new plan
    that no other instance of the host serves meanwhile. `is_replaced` tells whether others serve all that it serves.
    """

    name: str
    comes_back: bool
    seconds: Optional[float] = None
    measured_at: Optional[str] = None
    unserved: tuple[str, ...] = ()
    is_replaced: bool = False


def downtimes(
    switches: Iterable[Mapping[str, Any]], plan: Mapping[str, Any], host: Mapping[str, Any]
) -> list[Downtime]:
    """Return the instances that a run stops, in the order in which it does.

    Args:
        switches: of the `work` of module changes_info.
        plan: the new one.
        host: of module host_info.
    """
    planned = _served(plan)
    active = {entry["name"] for entry in host.get("instances") or [] if entry.get("active")}
    serving = {name: served for name, served in _served(host.get("applied_plan") or {}).items() if name in active}
    found = []
    for switch in switches:
        stopped = [paths.instance_of(unit) or unit for unit in switch["stop"]]
        down = [name for name in [*stopped, *switch["restart"]] if name in active or name not in planned]
        others = {model for name, served in serving.items() if name not in down for model in served}
        wanted = {model for served in planned.values() for model in served}
        for name in dict.fromkeys(down):
            seconds, measured_at = _measured(name, host)
            served = serving.get(name, ())
            unserved = [model for model in served if model in wanted and model not in others]
            comes_back = name in planned
            found.append(
                Downtime(
                    name,
                    comes_back,
                    seconds if comes_back else None,
                    measured_at if comes_back else None,
                    tuple(sorted(unserved)),
                    bool(served) and others.issuperset(served),
                )
            )
        serving = {name: served for name, served in serving.items() if name not in stopped}
        serving.update({name: planned[name] for name in switch["instances"] if name in planned})
    return found


def _served(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """{instance: names that clients use} of a plan."""
    return {one["name"]: [served_name(model) for model in one["models"]] for one in plan.get("instances") or []}


def _measured(name: str, host: Mapping[str, Any]) -> tuple[Optional[float], Optional[str]]:
    """What was measured last of an instance, and at what."""
    for plan in reversed((host.get("history") or {}).get("plans") or []):
        seconds = (plan.get("seconds_without_answer") or {}).get(name)
        if _is_number(seconds):
            return seconds, AT_A_SWITCH
        loads = (plan.get("load_seconds") or {}).get(name) or {}
        if loads and all(map(_is_number, loads.values())):
            return round(sum(loads.values()), 2), AT_A_LOAD
    return None, None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
