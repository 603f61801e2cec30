# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""State of Ollama servers: what the API says, what the unit would start, and what the process runs with."""

from __future__ import annotations

import functools
import os
import time
from typing import Any, Collection, Mapping

from ..common import paths, secrets
from ..common import service_variables as common
from ..host import proc, systemd
from ..host.unit_properties import main_pid
from ..ollama.client import OllamaClient, OllamaError
from .concurrency import in_parallel
from .model_contents import read_contents, stored_contents


def read_server(
    url: str,
    unit: str | None = None,
    timeout: float = 10.0,
    properties: dict[str, str] | None = None,
    names: Collection[str] = (),
) -> dict[str, Any]:
    """Return what module server_info returns for one server.

    Args:
        url: of its API.
        unit: its systemd unit; None where it is not known.
        timeout: seconds without an answer after which it counts as unreachable.
        properties: what systemd.show returned for the unit; without them systemd is asked.
        names: variables to read besides those that a server is known to read.

    Raises:
        InvalidUrl: the url is wrong.
        LibraryMissing: requests is not installed.
    """
    client = OllamaClient(url, timeout)
    server: dict[str, Any] = {
        "url": url,
        "reachable": False,
        "error": None,
        "version": None,
        "models": [],
        "loaded": [],
    }
    try:
        server["version"] = client.version()
        server["models"], server["loaded"] = client.tags(), client.ps()
        server["reachable"] = True
    except OllamaError as error:
        server["error"] = error.message
    if properties is None:
        properties = systemd.show([unit]).get(unit, {}) if unit else {}
    pid = main_pid(properties)
    process = proc.environment(pid) if pid else None
    server["environment"] = {
        "unit": _relevant(systemd.environment(properties), names) if properties.get("FragmentPath") else None,
        "process": _relevant(process, names) if process is not None else None,
    }
    server["executable"] = proc.executable(pid) if pid else None
    server["arguments"] = proc.arguments(pid) if pid else []
    server["unit"] = _unit(unit, properties)
    return server


def read_servers(
    plan: dict[str, Any], executable: str | None = None, timeout: float = 10.0
) -> dict[str, dict[str, Any]]:
    """Read the servers of all instances of a plan.

    Args:
        plan: of module placement_info.
        executable: the file that the servers should run, None for that of each instance's release. Links are followed.
        timeout: seconds without an answer after which a server counts as unreachable.

    Returns:
        {instance name: server}: what read_server returns, `runs_executable` (None where it is unknown),
        `wanted_executable`, the `contents` of the plan's models, and in `environment` the `differences` between process
        and plan, by name alone, because values may be secret.
    """
    instances = plan["instances"]
    properties = systemd.show([instance["unit"] for instance in instances])
    found: dict[str, dict[str, Any]] = {}

    def read(instance: dict[str, Any]) -> None:
        server = read_server(
            instance["url"],
            instance["unit"],
            timeout,
            properties.get(instance["unit"], {}),
            instance.get("environment") or (),
        )
        program = executable or paths.server(instance["name"])
        server["wanted_executable"] = os.path.realpath(program)
        server["runs_executable"] = runs(program, server["unit"]["main_pid"] if server["unit"] else None)
        server["environment"]["differences"] = differences(instance.get("environment") or {}, server["environment"])
        server["contents"] = (
            read_contents(OllamaClient(instance["url"], timeout), instance)
            if server["reachable"]
            else stored_contents(instance)
        )
        hide_secrets(server)
        found[instance["name"]] = server

    in_parallel([functools.partial(read, instance) for instance in instances])
    return found


def hide_secrets(server: dict[str, Any]) -> dict[str, Any]:
    """Hide the values of secret variables; `server` itself is changed."""
    for origin in ("unit", "process"):
        variables = server["environment"][origin]
        if variables:
            server["environment"][origin] = secrets.shown_environment(variables)
    return server


def differences(wanted: dict[str, Any], environment: dict[str, Any]) -> list[dict[str, str]]:
    """Compare the environment of a process with what the plan wants and with what its unit would set now.

    Args:
        wanted: the variables of the plan.
        environment: {unit, process} of read_server.

    Returns:
        [{name, difference}]: `missing` in the process, `other_than_planned`, or for variables that the plan does not
        name, or whose value it hides, `other_than_unit` and `not_in_unit`. A variable that a drop-in adds to the plan
        is no difference, because it comes back with every restart. One that no file sets any more is a difference,
        because a restart removes it.
    """
    process = environment["process"]
    if process is None:
        return []
    now = environment["unit"] or {}
    found = []
    for name in sorted(wanted):
        hidden = wanted[name] == secrets.HIDDEN
        planned = now.get(name) if hidden else str(wanted[name])
        if name not in process:
            found.append({"name": name, "difference": "missing"})
        elif process[name] != planned:
            found.append({"name": name, "difference": "other_than_unit" if hidden else "other_than_planned"})
    return found + [
        {"name": name, "difference": "other_than_unit" if name in now else "not_in_unit"}
        for name in sorted(process)
        if name not in wanted and common.is_of_the_server(name) and process[name] != now.get(name)
    ]


def runs(program: str, pid: int | None) -> bool | None:
    """Return whether a process runs a program, and not another or earlier file; None where that is unknown.

    Args:
        program: path of the program. Links are followed.
        pid: of the process; None without one.
    """
    running, wanted = proc.executable(pid) if pid else None, os.path.realpath(program)
    if pid is None or running is None or running == wanted:
        return None if running is None else True
    # The process of a script shows its interpreter. The script is an argument, and its link may have changed since.
    # Not the first: that is the program itself, whose path may hold another file by now (the kernel says "(deleted)").
    words = proc.arguments(pid)[1:4]
    scripts = [word for word in words if os.path.isabs(word) and os.path.realpath(word) != running]
    if not any(os.path.realpath(word) == wanted for word in scripts):
        return False
    started = proc.process_start(pid)
    return started is None or not any(_changed_since(word, started) for word in scripts)


def _changed_since(path: str, moment: float) -> bool:
    """Return whether a file, or a symbolic link in its path, is younger than `moment` (seconds since 1970)."""
    while path not in ("/", ""):
        try:
            # Rounded down: a link that was made in the second of the start was there at the start.
            if (os.path.islink(path) or os.path.isfile(path)) and int(os.lstat(path).st_mtime) > moment + 1:
                return True
        except OSError:
            return True
        path = os.path.dirname(path)
    return False


def _changed_since_start(properties: dict[str, str]) -> bool | None:
    """Return whether a file of a unit (its own or a drop-in) was written after its process started, so that the process
    has the limits and the sandbox of before; None where there is no process or its start is unknown."""
    pid = main_pid(properties)
    started = proc.process_start(pid) if pid else None
    if started is None:
        return None
    now = time.time()
    for path in [properties.get("FragmentPath", "")] + properties.get("DropInPaths", "").split():
        try:
            written = int(os.stat(path).st_mtime)
        except OSError:
            continue
        # As in _changed_since, what was written in the second of the start was there at the start. A time in the future
        # says nothing (the clock was set back since): it would be later than every restart.
        if started + 1 < written <= now:
            return True
    return False


def _relevant(variables: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if common.is_read_by_server(name) or name in names}


def _unit(name: str | None, properties: dict[str, str]) -> dict[str, Any] | None:
    if not name or not properties or properties.get("LoadState") not in (None, "loaded"):
        return None
    return {
        "name": properties.get("Id", name),
        "active_state": properties.get("ActiveState"),
        "sub_state": properties.get("SubState"),
        "main_pid": main_pid(properties) or None,
        "needs_daemon_reload": properties.get("NeedDaemonReload") == "yes",
        "changed_since_start": _changed_since_start(properties),
        "path": properties.get("FragmentPath") or None,
        "drop_ins": properties.get("DropInPaths", "").split(),
    }
