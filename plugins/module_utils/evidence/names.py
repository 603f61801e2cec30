# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the plan calls things: the name that a model is served under, the GPUs that it is planned on. Pure."""

from __future__ import annotations

# For callers that have not moved yet.
from ..common.names import served_name as served_name


def planned_uuids(model):
    """Return the UUIDs of the GPUs that the plan puts bytes of this model on; [] for one on the CPU."""
    return [
        device["uuid"] for device in (model.get("predicted") or {}).get("devices") or [] if device.get("total_bytes")
    ]


def plan_problem(plan):
    """Return one sentence on why this cannot be checked as a plan, None if it can."""
    if not isinstance(plan.get("instances"), list):
        return "plan has no list of instances: give the key placement of placement_info's result, or the content of /etc/ollama-multigpu/plan.json."
    if plan.get("feasible") is False:
        return "The plan is infeasible, so there is nothing to check: %s" % (
            "; ".join("%s: %s" % (model.get("name"), model.get("reason")) for model in plan.get("models") or [])
            or "see its models."
        )
    for instance in plan["instances"]:
        missing = [
            key for key in ("name", "unit", "url", "models") if not (isinstance(instance, dict) and instance.get(key))
        ]
        if missing:
            return (
                "An instance of the plan lacks %s: the plan is cut or of another version; run the plan again."
                % ", ".join(missing)
            )
    return None
