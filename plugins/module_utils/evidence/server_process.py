# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Observe the server of an instance: its release, who listens at its address, its program and its environment."""

from __future__ import annotations

import posixpath
import urllib.parse
from typing import Any, Mapping

from ..common import secrets, service_variables
from ..common.addresses import as_reached, is_wildcard
from ..common.names import full_name, key_of
from ..host import proc, systemd
from ..host.unit_properties import main_pid
from ..ollama.client import OllamaClient, OllamaError
from . import server
from .shapes import ObservedInstance

_SERVER = "ollama"


def read(
    client: OllamaClient, instance: Mapping[str, Any], observed: ObservedInstance, sockets: list[dict[str, Any]]
) -> None:
    """Fill in what runs as the server of an instance.

    Args:
        client: of its server.
        instance: of the plan.
        observed: of the instance, with the properties of its unit.
        sockets: of host/listeners.py, which reads all processes of the host: once for all instances.
    """
    pid = main_pid(observed.unit)
    try:
        observed.version = client.version() or None
    except OllamaError:
        observed.version = None
    observed.listener = listener_at(instance["url"], sockets, pid)
    observed.executable = proc.executable(pid) if pid else None
    program = _program(observed.unit)
    if program:
        observed.runs_next = server.runs(program, pid or None)
    observed.differences = _differences(instance.get("environment") or {}, pid, observed.unit)


def _program(properties: Mapping[str, str]) -> str | None:
    """The server that a unit starts, by itself or by another program (numactl ...) whose arguments name it; None where
    they do not, as for a script."""
    words = systemd.command(properties)
    return next((word for word in words if word.startswith("/") and posixpath.basename(word) == _SERVER), None)


def listener_at(url: str, sockets: list[dict[str, Any]], server_pid: int = 0) -> dict[str, Any] | None:
    """Return the entry of host/listeners.py that connections to a URL reach; None where none is seen.

    Args:
        url: http://address:port.
        sockets: of host/listeners.py. A socket with the address itself goes before one for all addresses. Of several,
            one of another process than the server counts, because it may get the connections.
        server_pid: the server's process, 0 where it is not known.
    """
    parts = urllib.parse.urlsplit(url)
    host = as_reached(parts.hostname or "")
    at_port = [entry for entry in sockets if entry["port"] == parts.port]
    exact = [entry for entry in at_port if as_reached(entry["address"]) == host]
    found = exact or [entry for entry in at_port if is_wildcard(entry["address"])] or at_port
    if not exact:  # the socket of the address's own family
        found = [entry for entry in found if (":" in as_reached(entry["address"])) == (":" in host)] or found
    others = [entry for entry in found if server_pid and entry["pid"] != server_pid]
    return next(iter(others or found), None)


def digests(client: OllamaClient) -> dict[str, str]:
    """Return {key of a name: digest} of the models in a server's store; {} where it does not tell."""
    try:
        listed = client.tags()
    except OllamaError:
        return {}
    return {key_of(entry["name"]): entry["digest"] for entry in listed if entry.get("name") and entry.get("digest")}


def alias_digests(model: Mapping[str, Any], stored: Mapping[str, str]) -> dict[str, str | None] | None:
    """Return {alias: its digest in the store, None where the store does not have it} of a model of a plan.

    Args:
        model: of the plan.
        stored: what `digests` has returned. Where that is empty, nothing is known, which is None.
    """
    aliases = [full_name(alias) for alias in model.get("aliases") or ()]
    return {alias: stored.get(key_of(alias)) for alias in aliases} if stored or not aliases else None


def _differences(wanted: Mapping[str, Any], pid: int, properties: Mapping[str, str]) -> list[dict[str, str]] | None:
    """Return how the process, and what the unit sets at its next start, differ from the plan; by name alone.

    Returns:
        Entries as of server.differences, `next_start` for a variable that the unit would set otherwise, and `refused`
        for one that no service may have (common/service_variables.py). None where the environment of the process cannot
        be read.
    """
    process = proc.environment(pid) if pid else None
    if process is None:
        return None
    unit = systemd.environment(properties) if properties.get("FragmentPath") else None
    found = server.differences(dict(wanted), {"process": process, "unit": unit})
    refused = (name for name in sorted(process) if service_variables.find(name).owner == service_variables.REFUSED)
    found += [{"name": name, "difference": "refused"} for name in refused if name not in wanted]
    if unit is not None:
        found += [
            {"name": name, "difference": "next_start"}
            for name, value in wanted.items()
            if value != secrets.HIDDEN and unit.get(name) != str(value)
        ]
    return found
