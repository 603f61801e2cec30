# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""IP addresses, host names and ports."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses


@pytest.mark.parametrize(
    "text, found",
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::", "::"),
        ("[::1]", "::1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("[127.0.0.1]", None),
        ("[::", None),
        ("fe80::1%eth0", None),
        ("localhost", None),
        ("127.0.0.01", None),
        ("", None),
    ],
)
def test_an_ip_address(text, found):
    assert addresses.ip_address(text) == found


@pytest.mark.parametrize(
    "text, found",
    [
        (" ollama.example.com ", "ollama.example.com"),
        ("localhost", "localhost"),
        ("[::1]", "::1"),
        ("1.2.3", None),
        ("300.1.1.1", None),
        ("-a.example", None),
        ("a b", None),
        ("a" * 64, None),
        ("a\n", "a"),
        (7, None),
        (None, None),
    ],
)
def test_a_host_is_an_ip_address_or_a_name(text, found):
    assert addresses.host(text) == found


@pytest.mark.parametrize(
    "address, other, both",
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("::1", "::", True),
        ("::", "0.0.0.0", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:7f00:1", "127.0.0.2", False),
        ("::ffff:0.0.0.0", "10.0.0.7", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_two_listeners_clash_on_one_address_or_on_all(address, other, both):
    for one, two in ((address, other), (other, address)):
        assert addresses.clash(one, two) is both


@pytest.mark.parametrize(
    "address, wildcard",
    [
        ("0.0.0.0", True),
        ("::", True),
        ("[::]", True),
        ("0:0:0:0:0:0:0:0", True),
        ("::ffff:0:0", True),
        ("::ffff:0.0.0.0", True),
        ("::ffff:127.0.0.1", False),
        ("::1", False),
        ("::0.0.0.1", False),
        ("0.0.0.1", False),
        ("ollama.example.com", False),
        ("", False),
    ],
)
def test_an_address_for_all_in_each_form(address, wildcard):
    assert addresses.is_wildcard(address) is wildcard


@pytest.mark.parametrize(
    "listening, address, whether",
    [
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "0.0.0.0", False),
        ("0.0.0.0", "10.0.0.7", True),
        ("::", "10.0.0.7", True),
        ("::ffff:0:0", "10.0.0.7", True),
        ("::ffff:10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "::ffff:10.0.0.7", True),
        ("::1", "127.0.0.1", False),
        ("2001:DB8::1", "[2001:db8::1]", True),
        ("host.example", "host.example", True),
    ],
)
def test_who_gets_the_connections_to_an_address(listening, address, whether):
    assert addresses.answers(listening, address) is whether


@pytest.mark.parametrize(
    "value, port", [(1, True), ("65535", True), (0, False), (65536, False), ("x", False), ("-1", False)]
)
def test_a_port(value, port):
    assert addresses.is_port(value) is port


def test_addresses_for_the_server_and_for_clients():
    assert addresses.host_and_port("::", 11434) == "[::]:11434"
    assert addresses.host_and_port("10.0.0.7", 11434) == "10.0.0.7:11434"
    assert addresses.url("::", 11434) == "http://[::1]:11434"
    assert addresses.url("0.0.0.0", 11435) == "http://127.0.0.1:11435"
    assert addresses.url("::ffff:0:0", 11435) == addresses.url("::ffff:0.0.0.0", 11435) == "http://127.0.0.1:11435"
    assert addresses.url("ollama.example.com", 80) == "http://ollama.example.com:80"


@pytest.mark.parametrize(
    "address, listening, told",
    [
        ("192.0.2.7", "0.0.0.0", None),
        ("gpu1.example.org", "127.0.0.1", None),
        ("2001:db8::7", "::", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("localhost", "::1", None),
        ("127.0.0.1", "0.0.0.0", "for each client the client itself"),
        ("localhost", "192.0.2.7", "for each client the client itself"),
        ("::ffff:127.0.0.1", "::", "for each client the client itself"),
        ("0.0.0.0", "0.0.0.0", "stands for all addresses"),
        ("::", "127.0.0.1", "stands for all addresses"),
        ("192.0.2.7:11434", "0.0.0.0", "without a port"),
        ("http://gpu1", "0.0.0.0", "neither an IP address nor a host name"),
        (7, "0.0.0.0", "neither an IP address nor a host name"),
    ],
)
def test_addresses_that_clients_can_be_given(address, listening, told):
    found = addresses.advertise_problem(address, listening)
    assert found is None if told is None else told in found
