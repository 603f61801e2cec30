# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Rules of who may connect, and what a run does about them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import firewall
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import NO_RULES, host

ALLOWED = ("192.0.2.0/24", "198.51.100.9", "2001:db8::/32")


def plan(*ports, address="0.0.0.0"):
    return {"instances": [{"name": "gpu%d" % port, "address": address, "port": port} for port in ports]}


def with_rules(wanted, **more):
    """A host with these rules, in the kernel and as files."""
    files = {
        file.path: {"kind": file.state, "digest": file.digest, "owner": "root", "group": "root", "mode": file.mode}
        for file in firewall.compare_firewall(plan(*wanted.ports), {}, host(), wanted.allowed)[1]
    }
    loaded = dict(NO_RULES, loaded=wanted.digest, active=True, enabled=True)
    return host(files=files, firewall=dict(loaded, **more))


def told(changes):
    return [(change.kind, change.what) for change in changes]


def test_the_rules_let_the_host_itself_and_the_listed_through():
    rules = firewall.Firewall((11434, 11435), ALLOWED)
    lines = [line.strip() for line in rules.text.splitlines()]
    for line in (
        'iifname "lo" accept',
        "tcp dport { 11434, 11435 } jump clients",
        "ip saddr { 192.0.2.0/24, 198.51.100.9 } accept",
        "ip6 saddr { 2001:db8::/32 } accept",
        'counter drop comment "%s"' % rules.digest,
    ):
        assert line in lines
    # What is not of our ports is left to others; what is, ends at the last rule.
    assert lines.index("ip6 saddr { 2001:db8::/32 } accept") < lines.index('counter drop comment "%s"' % rules.digest)
    assert "ip6 saddr" not in firewall.Firewall((1,), ("192.0.2.7",)).text


def test_each_set_of_rules_has_a_name_of_its_own():
    names = {
        firewall.Firewall(ports, allowed).digest
        for ports in ((1,), (1, 2))
        for allowed in (("192.0.2.7",), ("192.0.2.8",))
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("address", "allowed", "ports"),
    [
        ("0.0.0.0", ALLOWED, (1, 2)),
        ("[::]", ALLOWED, (1, 2)),
        ("192.0.2.7", ALLOWED, (1, 2)),
        ("127.0.0.1", ALLOWED, None),
        ("[::1]", ALLOWED, None),
        ("0.0.0.0", (), None),
    ],
)
def test_rules_are_wanted_where_an_instance_listens_on_a_network(address, allowed, ports):
    found = firewall.wanted_firewall(plan(2, 1, address=address)["instances"], allowed)
    assert (found and found.ports) == ports


def test_new_rules_are_loaded_before_and_written_after_the_switch():
    changes, files = firewall.compare_firewall(plan(1), {}, host(), ALLOWED)
    assert told(changes) == [
        ("load", paths.FIREWALL_UNIT),
        ("write", paths.NFTABLES_DROP_INS),
        ("write", paths.FIREWALL_RULES),
        ("write", paths.FIREWALL_UNIT_FILE),
        ("write", paths.NFTABLES_DROP_IN),
        ("enable", paths.FIREWALL_UNIT),
    ]
    assert {file.stage for file in files} == {"finish"}
    assert changes[0].details["rules"] == firewall.Firewall((1,), ALLOWED).text == files[1].content


def test_nothing_is_done_about_rules_that_are_there():
    assert firewall.compare_firewall(plan(1), plan(1), with_rules(firewall.Firewall((1,), ALLOWED)), ALLOWED) == (
        [],
        [],
    )


def test_old_ports_stay_closed_until_the_instances_have_moved():
    there = with_rules(firewall.Firewall((1,), ALLOWED))
    changes, files = firewall.compare_firewall(plan(2), plan(1), there, ALLOWED)
    assert told(changes) == [
        ("load", paths.FIREWALL_UNIT),
        ("write", paths.FIREWALL_RULES),
        ("enable", paths.FIREWALL_UNIT),
    ]
    assert "{ 1, 2 }" in changes[0].details["rules"] and "{ 2 }" in files[0].content


@pytest.mark.parametrize(
    ("there", "kinds"),
    [
        ({"loaded": None}, ["load", "enable"]),
        ({"loaded": ""}, ["load", "enable"]),
        ({"loaded": "f" * 32}, ["load", "enable"]),
        ({"active": False}, ["enable"]),
        ({"enabled": False}, ["enable"]),
    ],
)
def test_rules_that_somebody_has_emptied_or_switched_off_come_back(there, kinds):
    found = firewall.compare_firewall(plan(1), plan(1), with_rules(firewall.Firewall((1,), ALLOWED), **there), ALLOWED)
    assert ([change.kind for change in found[0]], found[1]) == (kinds, [])


@pytest.mark.parametrize(("address", "allowed"), [("0.0.0.0", ()), ("127.0.0.1", ALLOWED)])
def test_rules_that_are_not_wanted_any_more_go(address, allowed):
    there = with_rules(firewall.Firewall((1,), ALLOWED))
    changes, files = firewall.compare_firewall(plan(1, address=address), plan(1), there, allowed)
    assert told(changes) == [("remove", paths.FIREWALL_UNIT)]
    assert [(file.path, file.state, file.stage) for file in files] == [
        (paths.FIREWALL_RULES, "absent", "finish"),
        (paths.FIREWALL_UNIT_FILE, "absent", "finish"),
        (paths.NFTABLES_DROP_IN, "absent", "finish"),
    ]
    assert firewall.compare_firewall(plan(1, address=address), {}, host(), allowed) == ([], [])


def test_a_host_without_nftables_is_an_obstacle_where_rules_are_wanted():
    without = host(firewall=dict(NO_RULES, program=None))
    assert "install the package nftables" in firewall.obstacles(plan(1), without, ALLOWED)[0]
    assert firewall.obstacles(plan(1), without, ()) == [] == firewall.obstacles(plan(1), host(), ALLOWED)


def test_who_manages_the_firewall_is_told_with_the_commands():
    managed = host(firewall=dict(NO_RULES, managers=["ufw", "firewalld"]))
    ufw, firewalld = firewall.notes(plan(7, 1, 2), managed, ("192.0.2.7", "2001:db8::/32"))
    assert "ufw allow proto tcp from 192.0.2.7 to any port 1:2; ufw allow proto tcp from 192.0.2.7 to any port 7" in ufw
    assert 'family="ipv6" source address="2001:db8::/32" port port="1-2" protocol="tcp" accept' in firewalld
    assert firewall.notes(plan(1), managed, ()) == [] == firewall.notes(plan(1), host(), ALLOWED)


def test_the_unit_loads_the_rules_after_those_of_the_host():
    lines = firewall.unit_text().splitlines()
    for line in (
        "ExecStart=/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft",
        "ExecReload=/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft",
        "ExecStop=-/usr/sbin/nft delete table inet ollama_multigpu",
        "After=nftables.service",
    ):
        assert line in lines


@pytest.mark.parametrize("when", ["ExecStartPost", "ExecReload", "ExecStopPost"])
def test_rules_are_loaded_again_when_the_unit_of_nftables_empties_all_tables(when):
    assert "%s=-/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft" % when in firewall.drop_in_text().splitlines()
