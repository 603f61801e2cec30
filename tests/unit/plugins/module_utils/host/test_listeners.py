# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who listens, on this machine."""

from __future__ import annotations

import os
import socket

from ansible_collections.gpufleet.ollama.plugins.module_utils.host import listeners


def test_a_listening_socket_is_found_with_its_owner():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        found = [entry for entry in listeners.listeners() if entry["port"] == port]
    assert found == [
        {
            "address": "127.0.0.1",
            "port": port,
            "pid": os.getpid(),
            "process": found[0]["process"],
            "unit": found[0]["unit"],
        }
    ]


def test_an_address_that_the_host_does_not_have():
    assert listeners.can_bind("127.0.0.1") and listeners.can_bind("0.0.0.0") and listeners.can_bind("127.9.9.9")
    for address in ("192.0.2.7", "[2001:db8::7]", "localhost", "300.1.1.1"):
        assert not listeners.can_bind(address), address


def test_brackets_are_no_part_of_an_address():
    assert listeners.can_bind("[::1]") == listeners.can_bind("::1")


def test_addresses_of_both_families_are_read():
    assert listeners._address("0100007F") == "127.0.0.1"
    assert listeners._address("00000000000000000000000001000000") == "::1"
