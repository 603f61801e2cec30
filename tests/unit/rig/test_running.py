# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ports of the rig's servers."""

from __future__ import annotations

import pathlib
import socket

from tests.rig.ollama import running


def test_a_server_that_starts_again_finds_its_port_free_whatever_clients_connect_meanwhile():
    """One of 200 clients took it now and then, when it was a port that the kernel gives to clients."""
    text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    ports = {running.free_port() for unused in range(100)}
    assert len(ports) > 90 and max(ports) < int(text.split()[0])


def test_a_port_that_is_in_use_is_not_given(monkeypatch):
    with socket.socket() as taken:
        port = running.free_port()
        taken.bind(("127.0.0.1", port))
        offered = iter([port, port, port + 1, *range(20000, 30000)])
        monkeypatch.setattr(running.random.SystemRandom, "randrange", lambda self, first, last: next(offered))
        assert running.free_port() != port
