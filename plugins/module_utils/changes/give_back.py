# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run that fails gives back of an Ollama from elsewhere. Pure."""

from __future__ import annotations

from typing import Any

from ..common import paths, secrets
from .schema import Changes


def adoption_record(host: dict[str, Any]) -> dict[str, Any]:
    """Return what is written down of an Ollama before it is touched, so that it can be given back; the role puts the
    values of secret variables into it."""
    nothing = {"unit": "", "active": False, "enabled": False, "store": "", "environment": {}}
    found: dict[str, Any] = host["existing"] or nothing
    shown = secrets.shown_environment(found["environment"])
    return dict(found, environment=shown, command=host["command"] == "foreign")


def give_back(host: dict[str, Any], plan: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """Return what a failure of this run gives back, so that the models that were served before are served again.

    Args:
        host: of module host_info, as it was before the run.
        plan: of module placement_info.
        changes: of this run.

    Returns:
        {unit, command, active, enabled} as in the record of the adoption, and `stop`, the units that may hold its GPUs
        and its port. {} where nothing was taken over, or an earlier run was applied to its end: then it is the
        instances that serve.
    """
    adopting = bool(changes.of("adopt", "service") or changes.of("adopt", "command"))
    if not adopting and (host["applied_plan"] or not host["adopted"]):
        return {}
    record = host["adopted"] or adoption_record(host)
    found = {key: record.get(key) for key in ("unit", "command", "active", "enabled")}
    return dict(found, stop=[paths.unit(instance["name"]) for instance in plan["instances"]])
