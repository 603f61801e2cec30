# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which instances are started, restarted and enabled: what runs is compared with the plan, so that a run that was
killed before it restarted a service is completed by the next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..common import paths
from .schema import Change

#: States of a unit (ActiveState) in which its process is what it should be.
_RUNNING = ("active", "reloading")
#: What a difference of a variable (evidence/server.py) means, with the name of the variable. Values may be secret and
# are not said.
_VARIABLES = {
    "missing": "%s is missing in the process",
    "other_than_planned": "%s of the process is not what the plan says",
    "other_than_unit": "%s of the process is not what the unit's files say",
    "not_in_unit": "%s of the process is set by no file any more",
}


def compare_services(
    plan: dict[str, Any],
    host: dict[str, Any],
    servers: dict[str, Any],
    written: Mapping[str, list[str]] = MappingProxyType({}),
) -> list[Change]:
    """Return the changes that enable, start and restart the instances of a plan.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        servers: {instance: server} of module server_info; an instance that is missing there is not known to systemd.
        written: {unit: reasons} of files.written_unit_files.
    """
    enabled = {instance["name"] for instance in host["instances"] if instance["enabled"]}
    changes = []
    for instance in plan["instances"]:
        name, unit = instance["name"], instance["unit"]
        server = servers.get(name) or {}
        if name not in enabled:
            changes.append(Change("enable", "instance", unit, "%s does not start at boot." % unit, name))
        reasons = restart_reasons(instance, server)
        if runs(server):
            # The host was read before the files were written, so these hold until the instance was restarted.
            reasons = written.get(paths.TEMPLATE_UNIT, []) + written.get(unit, []) + reasons
        if reasons:
            kind = "restart" if runs(server) else "start"
            changes.append(Change(kind, "instance", unit, "%s." % "; ".join(reasons), name))
    return changes


def restart_reasons(instance: dict[str, Any], server: dict[str, Any]) -> list[str]:
    """Return why the process of an instance has to be started or restarted so that it runs with what the plan says; []
    if it need not be.

    Args:
        instance: of the plan.
        server: of module server_info, read with the plan and the file that the process should run; {} where nothing is
        known of it.
    """
    unit = server.get("unit")
    if unit is None or not runs(server):
        return ["%s is %s" % (instance["unit"], unit["active_state"] if unit else "not known to systemd")]
    reasons = []
    if unit["needs_daemon_reload"]:
        reasons.append("a file of the unit has changed since systemd read it")
    elif unit.get("changed_since_start"):
        reasons.append("a file of the unit was written after the process started")
    if server.get("runs_executable") is False:
        reasons.append("the process runs another file than %s, or an earlier one" % server["wanted_executable"])
    for entry in server["environment"].get("differences") or []:
        reasons.append(_VARIABLES[entry["difference"]] % entry["name"])
    return reasons


def runs(server: dict[str, Any]) -> bool:
    """Whether the unit of an instance runs; `server` is of module server_info."""
    unit = server.get("unit")
    return unit is not None and unit["active_state"] in _RUNNING
