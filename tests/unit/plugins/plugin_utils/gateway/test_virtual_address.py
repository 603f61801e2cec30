# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An address that gateways share: what is read, and keepalived.conf."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.virtual_address import keepalived, virtual_address

from tests.unit.plugins.plugin_utils.gateway.builders import settings

SHARED = {"address": "192.0.2.10/24", "interface": "eth0"}


def of(host="a", listen="0.0.0.0", hosts=("a", "b", "c"), **given):
    """The address that the gateway of a host shares."""
    known = {"a": "192.0.2.1", "b": "192.0.2.2", "c": ""}
    shared = {**SHARED, "addresses": {"c": "192.0.2.3"}, **given}
    variables = {"virtual_hosts": list(hosts), "virtual_host_addresses": known, "virtual_address": shared}
    return virtual_address(settings(host=host, listen_address=listen, **variables))


def test_without_an_address_nothing_is_shared():
    assert virtual_address(settings()) is None


@pytest.mark.parametrize(
    "given, words",
    [
        (
            {"virtual_address": "eth0"},
            " is 'eth0'; give a dictionary such as {address: 192.0.2.10/24, interface: eth0}.",
        ),
        ({"virtual_address": ["eth0"]}, " is ['eth0']; give a dictionary such as {address: 192.0.2.10/24, "),
        ({"virtual_hosts": "a,b"}, ": hosts is 'a,b'; give a list such as [front1, front2]."),
        ({"virtual_hosts": [1, 2]}, ": hosts has 1, 2; give the names of two to 254 hosts, a among them."),
        (
            {"virtual_address": {**SHARED, "addresses": "b=192.0.2.2"}},
            ": addresses is 'b=192.0.2.2'; give a dictionary such as {front1: 192.0.2.1}.",
        ),
    ],
)
def test_what_has_another_form_is_said(given, words):
    with pytest.raises(GatewayError) as failure:
        virtual_address(settings(**{"virtual_address": SHARED, "listen_address": "0.0.0.0", **given}))
    assert str(failure.value).startswith("ollama_gateway_virtual_address" + words)


def test_the_order_of_the_hosts_is_that_of_their_priorities():
    found = [of(host) for host in "abc"]
    assert [one.priority for one in found] == [254, 253, 252]
    assert [(one.own, one.peers) for one in found] == [
        ("192.0.2.1", ("192.0.2.2", "192.0.2.3")),
        ("192.0.2.2", ("192.0.2.1", "192.0.2.3")),
        ("192.0.2.3", ("192.0.2.1", "192.0.2.2")),
    ]


def test_the_configuration():
    text = keepalived(of("b", router_id=7), "/etc/ollama-gateway/check.py", "/run/admin.sock")
    for line in (
        "enable_script_security",
        'script "/usr/bin/python3 /etc/ollama-gateway/check.py /run/admin.sock"',
        "state BACKUP",
        "nopreempt",
        "interface eth0",
        "virtual_router_id 7",
        "priority 253",
        "unicast_src_ip 192.0.2.2",
        "check_unicast_src",
        "192.0.2.10/24 dev eth0",
    ):
        assert line in [one.strip() for one in text.splitlines()], line
    assert "    unicast_peer {\n        192.0.2.1\n        192.0.2.3\n    }\n" in text
    assert "auth" not in text and "@" not in text


def test_an_ipv6_address_needs_ipv6_hosts():
    known = {"a": "2001:db8::1", "b": "2001:db8::2", "c": "2001:db8::3"}
    assert of(listen="::", address="2001:db8::a/64", addresses=known).address == "2001:db8::a/64"
    with pytest.raises(GatewayError, match="addresses has no IPv6 address of a, whose address in the inventory is 192"):
        of(listen="::", address="2001:db8::a/64")
    with pytest.raises(GatewayError, match="set ollama_gateway_listen_address to ::"):
        of(address="2001:db8::a/64", addresses=known)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"address": None}, "address is None; give an IP address that no host has"),
        ({"address": "front"}, "address is 'front'; give an IP address"),
        ({"address": "192.0.2.10/33"}, "address is '192.0.2.10/33'; give"),
        ({"address": "127.0.0.2"}, "address is '127.0.0.2'; give"),
        ({"address": "0.0.0.0"}, "address is '0.0.0.0'; give"),
        ({"address": "224.0.0.18"}, "address is '224.0.0.18'; give"),
        ({"address": "192.0.2.2/24"}, "address is 192.0.2.2, which b has itself"),
        ({"interface": None}, "interface is None; give the name"),
        ({"interface": "eth0 }"}, "interface is 'eth0 }'; give the name"),
        ({"interface": "eth0\n"}, "interface is"),
        ({"router_id": 0}, "router_id is 0; give a number from 1 to 255"),
        ({"router_id": 256}, "router_id is 256; give"),
        ({"router_id": True}, "router_id is True; give"),
        ({"addresses": {}}, "addresses has no IPv4 address of c, whose address in the inventory is c; give one"),
        ({"addresses": {"c": "front3"}}, "addresses has no IPv4 address of c"),
        ({"hosts": ["a"]}, "hosts has a; give the names of two to 254 hosts, a among them"),
        ({"hosts": ["b", "c"]}, "hosts has b, c; give the names of two to 254 hosts, a among them"),
        ({"hosts": []}, "hosts has none; give"),
        ({"listen": "192.0.2.1"}, "shares 192.0.2.10 and listens on 192.0.2.1; set ollama_gateway_listen_address to 0"),
    ],
)
def test_mistakes_are_one_sentence(given, words):
    with pytest.raises(GatewayError) as error:
        of(**given)
    assert words in str(error.value) and str(error.value).endswith(".")
