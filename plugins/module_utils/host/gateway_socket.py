# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Servers of a gateway on this host: which there are, and out of rotation and back by HAProxy's administration socket.

HAProxy 2.6, doc/management.txt, 9.3 (add map, set server, show servers state, show stat).
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import socket
import time
from typing import Collection, Iterable

SOCKET = "/run/ollama-gateway/admin.sock"
#: The configuration that the gateway runs with.
RUNNING = "/run/ollama-gateway/running.cfg"
#: Name of the only server that a host is for the gateway of a fleet (plugin_utils/gateway/through.py).
WHOLE_HOST = "gateway"
#: The map of backends whose requests wait while none of their servers is in rotation.
HELD = "/etc/ollama-gateway/held.map"
_SECONDS = 10
_PAUSE = 0.2
#: HAProxy, include/haproxy/server-t.h: SRV_ADMF_FDRAIN.
_DRAINED = 0x08
_BACKEND = re.compile(r"backend (\S+)")
_SERVER = re.compile(r"\s+server (\S+) .*# (\{.*\})\s*\Z")


class GatewaySocketError(Exception):
    """The gateway does not do what it is asked. The text is one sentence."""


@dataclasses.dataclass(frozen=True)
class KnownServer:
    """A server of the configuration.

    Attributes:
        path: BACKEND/SERVER, as HAProxy names it.
        host: name of its host in the inventory.
        instance: name of the instance; WHOLE_HOST for the gateway of the host.
    """

    path: str
    host: str
    instance: str


def known_servers(configuration: str) -> list[KnownServer]:
    """Return the servers of a configuration that the role ollama_gateway has written. A line of one ends with a comment
    that tells its host and its instance as JSON."""
    found, backend = [], ""
    for line in configuration.splitlines():
        section, server = _BACKEND.match(line), _SERVER.match(line)
        backend = section.group(1) if section else backend
        if server:
            told = json.loads(server.group(2))
            found.append(KnownServer("%s/%s" % (backend, server.group(1)), told["host"], told["instance"]))
    return found


def servers_of(configuration: str, host: str, instances: Collection[str]) -> list[str]:
    """Return the paths of the servers that stand for instances of a host; the gateway of the host is one of them.

    Args:
        configuration: that the gateway runs with.
        host: name in the inventory.
        instances: names of instances; none = all.
    """
    return [
        server.path
        for server in known_servers(configuration)
        if server.host == host and (not instances or server.instance in (*instances, WHOLE_HOST))
    ]


def _backends(servers: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(server.rpartition("/")[0] for server in servers))


class GatewaySocket:
    """The administration socket of a running gateway.

    Args:
        path: of the socket.
        held: path of the map of backends whose requests wait.
    """

    def __init__(self, path: str = SOCKET, held: str = HELD) -> None:
        self.path, self.held = path, held

    def drained(self) -> set[str]:
        """Return the paths of the servers that were drained by this socket."""
        rows = [line.split(" ") for line in self._ask("show servers state").splitlines() if line[:1].isdigit()]
        return {"%s/%s" % (row[1], row[3]) for row in rows if len(row) > 6 and int(row[6]) & _DRAINED}

    def under_way(self, servers: Collection[str]) -> int:
        """Return how many requests servers have begun to answer."""
        return sum(int(row["scur"] or 0) for path, row in self._rows().items() if path in servers)

    def _rows(self) -> dict[str, dict[str, str]]:
        """What HAProxy counts, by the paths of its servers."""
        rows = csv.DictReader(self._ask("show stat").lstrip("# ").splitlines())
        return {"%s/%s" % (row["pxname"], row["svname"]): row for row in rows}

    def drain(self, servers: Collection[str]) -> None:
        """Take servers out of rotation. Requests that no other server can answer wait.

        Raises:
            GatewaySocketError: HAProxy refuses it.
        """
        for backend in _backends(servers):
            self._ask("del map %s %s" % (self.held, backend))  # it would stand there twice
            self._tell("add map %s %s 1" % (self.held, backend))
        for server in servers:
            self._tell("set server %s state drain" % server)

    def take_back(self, servers: Collection[str]) -> None:
        """Take servers back into rotation at once, and not after their next check: they were proven. One that does not
        answer leaves again by its checks, or by failed connections in succession where the gateway counts them.

        Raises:
            GatewaySocketError: HAProxy refuses it.
        """
        # A server with "track" has the health of the server that it names (check0_BACKEND/SERVER). HAProxy refuses to
        # set it.
        following = {path for path, row in self._rows().items() if row.get("tracked")}
        for server in servers:
            self._tell("set server %s state ready" % server)
            if server not in following:
                self._tell("set server %s health up" % server)
        for backend in _backends(servers):
            self._ask("del map %s %s" % (self.held, backend))  # it need not be there

    def wait(self, servers: Collection[str], seconds: float) -> int:
        """Wait until servers have answered what they have begun; return how many requests are still under way then."""
        deadline = time.monotonic() + seconds
        while True:
            left = self.under_way(servers)
            if not left or time.monotonic() >= deadline:
                return left
            time.sleep(_PAUSE)

    def _tell(self, command: str) -> None:
        answer = self._ask(command).strip()
        if answer:
            raise GatewaySocketError("HAProxy refuses %r: %s." % (command, answer.rstrip(".")))

    def _ask(self, command: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as admin:
                admin.settimeout(_SECONDS)
                admin.connect(self.path)
                admin.sendall(command.encode("ascii") + b"\n")
                return b"".join(iter(lambda: admin.recv(65536), b"")).decode("utf-8", "replace")
        except OSError as error:
            raise GatewaySocketError("The gateway does not answer at %s: %s." % (self.path, error.strerror or error))
