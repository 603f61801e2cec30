# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the instances of a host are configured with. After a run that was killed, that is not what the applied plan
says. Pure."""

from __future__ import annotations

from typing import Any


def configured_plan(applied: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """Return the applied plan with each instance as its own plan says that an unfinished run has left on the host.

    A switch writes the plan of an instance before it starts the instance, and a run writes the plan of the host after
    the last proof.

    Args:
        applied: the plan that was applied before; {} where there is none.
        host: of module host_info.
    """
    own = {
        entry["name"]: instance
        for entry in host["instances"]
        for instance in (entry.get("plan") or {}).get("instances") or []
        if isinstance(instance, dict) and instance.get("name") == entry["name"]  # not of a damaged file
    }
    if not own:
        return applied
    before = {instance["name"]: instance for instance in applied.get("instances") or []}
    return dict(applied, instances=list({**before, **own}.values()))
