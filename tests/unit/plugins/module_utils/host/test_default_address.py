# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The address by which a host reaches others."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import default_address


class _Socket:
    """A socket of a host with these own addresses, by the address that is to be reached."""

    own: dict[str, str] = {}

    def __init__(self, family, kind):
        assert kind == socket.SOCK_DGRAM  # nothing is sent
        self._reaches = None

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return False

    def connect(self, address):
        if address[0] not in self.own:
            raise OSError(101, "Network is unreachable")
        self._reaches = address[0]

    def getsockname(self):
        return (self.own[self._reaches], 40000)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"192.0.2.1": "10.0.0.7", "2001:db8::1": "fd00::7"}, "10.0.0.7"),
        ({"2001:db8::1": "fd00::7"}, "fd00::7"),
        ({}, None),
    ],
)
def test_the_default_route_decides(own, expected, monkeypatch):
    monkeypatch.setattr(_Socket, "own", own)
    monkeypatch.setattr(default_address.socket, "socket", _Socket)
    assert default_address.default_address() == expected
