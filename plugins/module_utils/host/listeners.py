# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who listens on which TCP port, from /proc alone (as ss -ltnp does)."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, Dict, Iterator, List, Set, Tuple

from ..common import addresses
from . import proc as processes

_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h


def listeners(proc: str = "/proc") -> List[Dict[str, Any]]:
    """Return all listening TCP sockets, by port.

    Returns:
        [{address, port, pid, process, unit}]; the last three are None where the owner is not visible (another
        namespace, or no root).
    """
    sockets = {}
    for table in ("tcp", "tcp6"):
        for address, port, inode in _table(os.path.join(proc, "net", table)):
            sockets[inode] = (address, port)
    owners = _owners(proc, set(sockets)) if sockets else {}
    found = []
    for inode, (address, port) in sockets.items():
        pid = owners.get(inode)
        found.append(
            {
                "address": address,
                "port": port,
                "pid": pid,
                "process": processes.name(pid, proc) if pid else None,
                "unit": processes.unit_of(pid, proc) if pid else None,
            }
        )
    return sorted(found, key=lambda entry: (entry["port"], entry["address"]))


def can_bind(address: str) -> bool:
    """Return whether a process can listen on an IP address (brackets around IPv6 are allowed).

    The kernel is asked, by binding a socket to a port of its own choice: it also knows addresses that no interface has
    yet but that may be bound (net.ipv4.ip_nonlocal_bind).
    """
    bare = addresses.without_brackets(address)
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        socket.inet_pton(family, bare)  # so that no name is looked up
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((bare, 0))
    except (OSError, ValueError):  # also a host without IPv6, or no address at all
        return False
    return True


def _table(path: str) -> Iterator[Tuple[str, int, str]]:
    """(address, port, inode) of each listening line of /proc/net/tcp or tcp6."""
    for line in _lines(path)[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, port = fields[1].split(":")
            yield _address(address), int(port, 16), fields[9]


def _address(text: str) -> str:
    """The kernel prints an address as 32-bit words in the host's byte order."""
    raw = b"".join(struct.pack("=I", int(text[start : start + 8], 16)) for start in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _owners(proc: str, inodes: Set[str]) -> Dict[str, int]:
    """{inode: lowest pid that holds it}."""
    owners: Dict[str, int] = {}
    for pid in reversed(processes.pids(proc)):
        directory = os.path.join(proc, str(pid), "fd")
        try:
            names = os.listdir(directory)
        except OSError:  # gone, or not ours to read
            continue
        for name in names:
            try:
                target = os.readlink(os.path.join(directory, name))
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                owners[target[8:-1]] = pid
    return owners


def _lines(path: str) -> List[str]:
    try:
        with open(path, "r", encoding="utf-8", errors="replace") as handle:
            return handle.read().splitlines()
    except OSError:
        return []
