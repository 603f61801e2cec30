# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which servers' answers tell what the instances of a plan hold. Pure.

Another server may answer at an instance's address: a sibling that still listens on the port that this instance gets, or
the instance itself with the store that it had before. What such a server has says nothing of the instance.
"""

from __future__ import annotations

import posixpath
from typing import Any

from ..common import addresses
from .restarts import runs

# Ports of OLLAMA_HOST without a port, by the scheme that it begins with (Ollama envconfig/config.go, Host).
_DEFAULT_PORTS = {"": 11434, "http": 80, "https": 443}
_DEFAULT_HOST = "127.0.0.1"


def known_servers(plan: dict[str, Any], servers: dict[str, Any]) -> dict[str, Any]:
    """Return the servers whose process listens where the plan's instance does and uses the plan's store.

    Args:
        plan: of module placement_info.
        servers: {instance: server} of module server_info. A server whose process cannot be read is not known.
    """
    instances = {instance["name"]: instance for instance in plan["instances"]}
    return {
        name: server
        for name, server in servers.items()
        if name in instances and runs(server) and _is_of(instances[name], server["environment"]["process"])
    }


def with_stored_contents(known: dict[str, Any], servers: dict[str, Any]) -> dict[str, Any]:
    """Return known servers and, of those that do not answer, what was read in the stores of their instances.

    Args:
        known: of known_servers.
        servers: {instance: server} of module server_info.
    """
    stored = {
        name: {"reachable": False, "contents": server["contents"]}
        for name, server in servers.items()
        if not server.get("reachable") and server.get("contents")
    }
    return {**stored, **known}


def _is_of(instance: dict[str, Any], process: dict[str, str] | None) -> bool:
    """Whether a process with these variables answers at the URL of an instance, from the store of the instance."""
    if process is None:
        return False
    wanted, (host, port) = listening(instance["url"]), listening(process.get("OLLAMA_HOST") or "")
    same_address = port == wanted[1] and addresses.answers(host, wanted[0])
    return same_address and _store(process) == posixpath.normpath(instance["store"])


def listening(value: str) -> tuple[str, int]:
    """Return the address and the port that Ollama listens on with a value of OLLAMA_HOST.

    Ollama's rules (envconfig/config.go, Host): a scheme only changes the default port, a path is ignored, and a missing
    or invalid port is the default one. An empty host before a port stands for all addresses.
    """
    scheme, found, rest = _unquoted(value).partition("://")
    if not found:
        scheme, rest = "", scheme
    default = _DEFAULT_PORTS.get(scheme, _DEFAULT_PORTS[""])
    rest = rest.partition("/")[0]
    whole = addresses.ip_address(rest)
    host, colon, port = (whole, "", "") if whole else rest.rpartition(":")
    if not colon:
        return whole or _address(rest) or _DEFAULT_HOST, default
    valid = port.isascii() and port.isdigit() and int(port) <= addresses.HIGHEST_PORT
    return _address(host) or "0.0.0.0", int(port) if valid else default


def _address(host: str) -> str:
    return _DEFAULT_HOST if host.lower() == "localhost" else addresses.ip_address(host) or host


def _store(process: dict[str, str]) -> str:
    """The models directory of a process; "" where it is the default of the user, which no instance of a plan has."""
    store = _unquoted(process.get("OLLAMA_MODELS") or "")
    return posixpath.normpath(store) if store else ""


def _unquoted(value: str) -> str:
    """A value as Ollama reads it (envconfig/config.go, Var): without spaces and quotes around it."""
    return value.strip().strip("\"'")
