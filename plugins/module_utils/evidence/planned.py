# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is checked of a plan before evidence is gathered for it, and the GPUs that it names for a model. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Mapping, Optional

from ..common import paths

#: What evidence needs of each instance.
_NEEDED = ("name", "unit", "url", "models")


def planned_uuids(model: Mapping[str, Any]) -> list[str]:
    """Return the UUIDs of the GPUs that the plan puts bytes of a model on; [] for one on the CPU.

    Args:
        model: an entry of `models` of an instance of the plan.
    """
    devices = (model.get("predicted") or {}).get("devices") or []
    return [device["uuid"] for device in devices if device.get("total_bytes")]


def plan_problem(plan: Mapping[str, Any]) -> Optional[str]:
    """Return one sentence on why this cannot be checked as a plan, None if it can."""
    if not isinstance(plan.get("instances"), list):
        return (
            "plan has no list of instances: give the key placement of placement_info's result, or the content of %s."
            % paths.PLAN
        )
    if plan.get("feasible") is False:
        reasons = ["%s: %s" % (model.get("name"), model.get("reason")) for model in plan.get("models") or []]
        return "The plan is infeasible, so there is nothing to check: %s" % ("; ".join(reasons) or "see its models.")
    for instance in plan["instances"]:
        missing = [key for key in _NEEDED if not (isinstance(instance, dict) and instance.get(key))]
        if missing:
            return (
                "An instance of the plan lacks %s: the plan is cut or of another version; run the plan again."
                % ", ".join(missing)
            )
        if not all(isinstance(model, dict) and model.get("name") for model in instance["models"]):
            return (
                "A model of instance %s of the plan has no name: the plan is cut or of another version; run the plan "
                "again." % instance["name"]
            )
    return None


def instances_of(plan: dict[str, Any], only: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return the instances of a plan, those with these names where some are given."""
    return [instance for instance in plan.get("instances") or [] if only is None or instance["name"] in only]
