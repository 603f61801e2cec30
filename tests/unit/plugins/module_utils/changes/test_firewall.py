# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Rules of who may connect, and what a run does about them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import firewall, order
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import NO_RULES, host

ALLOWED = ("192.0.2.0/24", "198.51.100.9", "2001:db8::/32")


def plan(*ports, address="0.0.0.0"):
    return {"instances": [{"name": "gpu%d" % port, "address": address, "port": port} for port in ports]}


def with_rules(wanted, **more):
    """A host with these rules, in the kernel and as files."""
    files = {
        file.path: {"kind": file.state, "digest": file.digest, "owner": "root", "group": "root", "mode": file.mode}
        for file in firewall.compare_firewall(plan(*wanted.ports), [], host(), wanted.allowed)[1]
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
        "counter drop",
    ):
        assert line in lines
    # What is not of our ports is left to others; what is, ends at the last rule.
    assert lines.index("ip6 saddr { 2001:db8::/32 } accept") < lines.index("counter drop")
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


def compared(wanted, before, there, allowed=ALLOWED):
    """What is done to a host on which the instances of this plan have run."""
    return firewall.compare_firewall(wanted, before["instances"], there, allowed)


def test_new_rules_are_written_and_loaded_before_the_switch():
    changes, files = compared(plan(1), plan(), host())
    assert told(changes) == [
        ("write", paths.NFTABLES_DROP_INS),
        ("write", paths.FIREWALL_RULES),
        ("write", paths.FIREWALL_UNIT_FILE),
        ("write", paths.NFTABLES_DROP_IN),
        ("load", paths.FIREWALL_UNIT),
    ]
    assert {file.stage for file in files} == {"guard"} and {order.stage(change) for change in changes} == {"switch"}
    assert files[1].content == firewall.Firewall((1,), ALLOWED).text


def test_nothing_is_done_about_rules_that_are_there():
    assert compared(plan(1), plan(1), with_rules(firewall.Firewall((1,), ALLOWED))) == ([], [])


def test_old_ports_stay_closed_until_the_instances_have_moved():
    """Also at boot, where the run was killed in between."""
    there = with_rules(firewall.Firewall((1,), ALLOWED))
    changes, files = compared(plan(2), plan(1), there)
    assert told(changes) == [
        ("write", paths.FIREWALL_RULES),
        ("load", paths.FIREWALL_UNIT),
        ("narrow", paths.FIREWALL_UNIT),
    ]
    assert order.stage(changes[-1]) == "finish" and "port 1 " in changes[-1].reason
    assert [(file.stage, "{ 1, 2 }" in file.content, "{ 2 }" in file.content) for file in files] == [
        ("guard", True, False),
        ("finish", False, True),
    ]


def test_a_run_that_goes_on_after_one_that_was_killed_narrows_the_rules_alone():
    there = with_rules(firewall.Firewall((1, 2), ALLOWED))
    changes, files = compared(plan(2), plan(1), there)
    assert told(changes) == [("narrow", paths.FIREWALL_UNIT)] and [file.stage for file in files] == ["finish"]


def test_a_list_that_changes_is_in_force_for_all_ports_at_once():
    there = with_rules(firewall.Firewall((1,), ALLOWED))
    changes, files = compared(plan(1), plan(1), there, ALLOWED[:1])
    assert told(changes) == [("write", paths.FIREWALL_RULES), ("load", paths.FIREWALL_UNIT)]
    assert files[0].content == firewall.Firewall((1,), ALLOWED[:1]).text


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ({"loaded": None}, "Its rules are not loaded."),
        ({"loaded": ""}, "Other rules are loaded."),
        ({"loaded": "f" * 32}, "Other rules are loaded."),
        ({"active": False}, "It does not run."),
        ({"enabled": False}, "It does not start at boot."),
    ],
)
def test_rules_that_somebody_has_emptied_or_switched_off_come_back(there, reason):
    found = compared(plan(1), plan(1), with_rules(firewall.Firewall((1,), ALLOWED), **there))
    assert ([(change.kind, change.reason) for change in found[0]], found[1]) == ([("load", reason)], [])


def test_a_unit_of_an_earlier_run_is_written_and_its_rules_loaded_again():
    there = with_rules(firewall.Firewall((1,), ALLOWED))
    there["files"][paths.FIREWALL_UNIT_FILE]["digest"] = "0" * 64
    changes, files = compared(plan(1), plan(1), there)
    assert told(changes) == [("write", paths.FIREWALL_UNIT_FILE), ("load", paths.FIREWALL_UNIT)]
    assert [file.path for file in files] == [paths.FIREWALL_UNIT_FILE]


@pytest.mark.parametrize(("address", "allowed"), [("0.0.0.0", ()), ("127.0.0.1", ALLOWED)])
def test_rules_that_are_not_wanted_any_more_go(address, allowed):
    there = with_rules(firewall.Firewall((1,), ALLOWED))
    changes, files = compared(plan(1, address=address), plan(1), there, allowed)
    assert told(changes) == [("remove", paths.FIREWALL_UNIT)]
    assert [(file.path, file.state, file.stage) for file in files] == [
        (paths.FIREWALL_RULES, "absent", "finish"),
        (paths.FIREWALL_UNIT_FILE, "absent", "finish"),
        (paths.NFTABLES_DROP_IN, "absent", "finish"),
    ]
    assert compared(plan(1, address=address), plan(), host(), allowed) == ([], [])


def test_a_host_without_nftables_is_an_obstacle_where_rules_are_wanted():
    without = host(firewall=dict(NO_RULES, program=None))
    assert "install the package nftables" in firewall.obstacles(plan(1), without, ALLOWED)[0]
    assert firewall.obstacles(plan(1), without, ()) == [] == firewall.obstacles(plan(1), host(), ALLOWED)


def test_the_unit_loads_the_rules_after_those_of_the_host():
    lines = firewall.unit_text().splitlines()
    for line in (
        "ExecStart=/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft",
        "ExecReload=/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft",
        "After=nftables.service",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("ExecStop")]  # nobody may connect because it has stopped


@pytest.mark.parametrize("when", ["ExecStartPost", "ExecReload", "ExecStopPost"])
def test_rules_are_loaded_again_when_the_unit_of_nftables_empties_all_tables(when):
    assert "%s=-/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft" % when in firewall.drop_in_text().splitlines()
