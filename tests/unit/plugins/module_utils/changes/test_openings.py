# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run changes in ufw and firewalld."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import firewall, openings, order
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.schema import Changes
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.task_loops import work
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening, Place, place_data

from tests.unit.plugins.module_utils.changes.builders import NO_RULES, host
from tests.unit.plugins.module_utils.changes.test_firewall import plan

ALLOWED = ("192.0.2.0/24",)


def managed(*places, **more):
    """A host with these places."""
    return host(firewall=dict(NO_RULES, places=[place_data(place, ALLOWED) for place in places], **more))


def zones(*own):
    """The places of a zone of firewalld with these openings."""
    return [Place("firewalld", "public", lasting, own=own) for lasting in (False, True)]


def told(changes):
    return [(change.kind, change.what, change.reason, order.stage(change)) for change in changes]


def tasks(changes):
    """What the tasks of the role are given."""
    found = work(Changes(changes=tuple(changes)), {"instances": []}, {})
    return found["openings"], found["openings_after"]


def test_what_is_missing_is_opened_once_for_each_manager_before_the_switch():
    found = openings.compare_openings(managed(Place("ufw"), *zones()), ALLOWED, (1,), (1,))
    assert told(found) == [
        ("open", "ufw", "It has no opening for 192.0.2.0/24 to port 1.", "switch"),
        ("open", "firewalld", "It has no opening for 192.0.2.0/24 to port 1 in zone public.", "switch"),
    ]
    assert tasks(found) == ({"allow_from": ["192.0.2.0/24"], "ports": [1]}, {})


def test_nothing_is_done_about_what_is_open():
    there = managed(Place("ufw", own=(Opening("192.0.2.0/24", "1"),)))
    assert openings.compare_openings(there, ALLOWED, (1,), (1,)) == []
    assert tasks([]) == ({}, {})


def test_who_is_not_listed_any_more_is_not_let_through_before_the_switch():
    there = managed(Place("ufw", own=(Opening("192.0.2.0/24", "1"), Opening("198.51.100.7", "1"))))
    found = openings.compare_openings(there, ALLOWED, (1,), (1,))
    assert told(found) == [("close", "ufw", "The opening for 198.51.100.7 to port 1 is not wanted any more.", "switch")]
    assert tasks(found) == ({"allow_from": ["192.0.2.0/24"], "ports": [1]}, {})


def test_old_ports_are_open_until_the_instances_have_moved():
    there = managed(Place("ufw", own=(Opening("192.0.2.0/24", "1"),)))
    found = openings.compare_openings(there, ALLOWED, (1, 5), (5,))
    assert [(change.kind, order.stage(change)) for change in found] == [("open", "switch"), ("narrow", "finish")]
    assert "192.0.2.0/24 to port 5" in found[0].reason and "192.0.2.0/24 to port 1 " in found[1].reason
    assert tasks(found) == (
        {"allow_from": ["192.0.2.0/24"], "ports": [1, 5]},
        {"allow_from": ["192.0.2.0/24"], "ports": [5]},
    )


def test_old_ports_beside_new_ones_make_one_range_for_a_while():
    there = managed(Place("ufw", own=(Opening("192.0.2.0/24", "1"),)))
    found = openings.compare_openings(there, ALLOWED, (1, 2), (2,))
    assert [(change.kind, change.reason) for change in found] == [
        ("open", "It has no opening for 192.0.2.0/24 to port 1-2."),
        ("close", "The opening for 192.0.2.0/24 to port 1 is not wanted any more."),
        ("narrow", "The opening for 192.0.2.0/24 to port 1-2 is not wanted any more."),
    ]


def test_openings_follow_the_rules_of_nftables():
    """The same ports, for as long; everybody else is kept out before anybody is let through."""
    changes, files = firewall.compare_firewall(plan(2), plan(1)["instances"], managed(Place("ufw")), ALLOWED)
    kinds = [(change.kind, change.what) for change in order.ordered(changes)]
    assert kinds[-4:] == [
        ("load", paths.FIREWALL_UNIT),
        ("open", "ufw"),
        ("narrow", "ufw"),
        ("narrow", paths.FIREWALL_UNIT),
    ]
    assert tasks(changes)[0]["ports"] == [1, 2] and "{ 1, 2 }" in files[1].content


@pytest.mark.parametrize(("address", "allowed"), [("0.0.0.0", ()), ("127.0.0.1", ALLOWED)])
def test_openings_that_are_not_wanted_any_more_go(address, allowed):
    there = managed(Place("ufw", own=(Opening("192.0.2.0/24", "1"),)))
    changes, files = firewall.compare_firewall(plan(1, address=address), [], there, allowed)
    assert [(change.kind, change.what, order.stage(change)) for change in changes] == [("remove", "ufw", "finish")]
    assert files == [] and work(Changes(changes=tuple(changes)), {"instances": []}, {})["remove_firewall"]
    assert firewall.compare_firewall(plan(1, address=address), [], managed(Place("ufw")), allowed) == ([], [])


KEPT = Place("firewalld", "public", opens=(), kept=(Opening("192.0.2.0/24", "1"),), why_kept="firewalld is silent")


def test_a_manager_that_does_not_answer_is_an_obstacle_where_clients_are_listed():
    silent = managed(KEPT, problem="firewall-cmd --list-all-zones fails: no D-Bus")
    (sentence,) = firewall.obstacles(plan(1), silent, ALLOWED)
    assert "fails: no D-Bus, so that it is not known whether clients get through: make it answer" in sentence
    assert firewall.obstacles(plan(1), silent, ()) == [] == firewall.obstacles(plan(1), host(), ALLOWED)


@pytest.mark.parametrize(("address", "allowed"), [("0.0.0.0", ()), ("127.0.0.1", ALLOWED)])
def test_what_a_manager_that_does_not_answer_keeps_is_a_note_where_nobody_is_listed_any_more(address, allowed):
    silent = managed(KEPT, problem="firewall-cmd --list-all-zones fails: no D-Bus")
    (note,) = firewall.notes(plan(1, address=address), silent, allowed)
    assert note == ("firewalld keeps the opening for 192.0.2.0/24 to port 1 in zone public: firewalld is silent.")
    assert firewall.compare_firewall(plan(1, address=address), [], silent, allowed) == ([], [])
    # A host that never opened anything is left in peace.
    assert firewall.notes(plan(1, address=address), managed(problem="no D-Bus"), allowed) == []


def test_listed_clients_whom_ufw_refuses_are_a_note():
    shut = managed(Place("ufw", opens=(4,), shut=(6,)))
    (note,) = firewall.notes(plan(1), shut, ("192.0.2.0/24", "2001:db8::/64"))
    assert "2001:db8::/64 cannot connect" in note
    assert firewall.notes(plan(1), shut, ALLOWED) == []
    assert firewall.notes(plan(1, address="127.0.0.1"), shut, ("2001:db8::/64",)) == []
