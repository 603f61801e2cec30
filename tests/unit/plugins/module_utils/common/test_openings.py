# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which openings for clients are missing, and which are not wanted any more."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import openings
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening, Place

ALLOWED = ("192.0.2.0/24", "2001:db8::9")
FOUR, SIX = Opening("192.0.2.0/24", "1-2"), Opening("2001:db8::9", "1-2")
OTHER = Opening("198.51.100.7", "1-2")


def differences(place, allowed=ALLOWED, ports=(1, 2)):
    """(missing, stale) of a place."""
    (found,) = openings.compared([place], allowed, ports)
    assert openings.differing([place], allowed, ports) == ([found] if found.missing or found.stale else [])
    return found.missing, found.stale


@pytest.mark.parametrize(
    ("place", "missing", "stale"),
    [
        (Place("ufw"), (FOUR, SIX), ()),
        (Place("ufw", own=(FOUR, SIX)), (), ()),
        (Place("ufw", opens=(4,)), (FOUR,), ()),
        (Place("ufw", own=(OTHER, SIX)), (FOUR,), (OTHER,)),
        # What others have is left as it is, and neither doubled nor taken away.
        (Place("ufw", held=(FOUR, OTHER)), (SIX,), ()),
        # Nothing is opened where the manager is not in force. What is wanted when it comes back stays.
        (Place("ufw", active=False), (), ()),
        (Place("ufw", active=False, own=(FOUR, OTHER)), (), (OTHER,)),
        # By this zone no clients come any more.
        (Place("firewalld", "old", opens=(), own=(FOUR,)), (), (FOUR,)),
    ],
)
def test_what_a_place_lacks_and_has_too_much(place, missing, stale):
    assert differences(place) == (missing, stale)


def test_without_a_list_everything_of_the_collection_goes_and_nothing_else():
    assert differences(Place("ufw", own=(FOUR,), held=(SIX,)), (), ()) == ((), (FOUR,))
    assert differences(Place("ufw", held=(SIX,)), (), ()) == ((), ())


def test_a_place_that_is_mended_does_not_differ():
    (found,) = openings.compared([Place("ufw", own=(OTHER,), held=(SIX,))], ALLOWED, (1, 2))
    assert found.mended == Place("ufw", own=(FOUR,), held=(SIX,))
    assert differences(found.mended) == ((), ())


def test_ports_are_ranges():
    assert openings.port_ranges([11440, 11435, 11434, 11435]) == ["11434-11435", "11440"]
    assert openings.port_ranges([]) == []


def test_what_people_read():
    places = [Place("ufw", own=(FOUR,)), Place("firewalld", "public", lasting=False, own=(SIX,))]
    assert openings.lines(places) == [
        "ufw: 192.0.2.0/24 to port 1-2, also after a reboot",
        "firewalld: 2001:db8::9 to port 1-2 in zone public, now",
    ]


def test_what_cannot_be_taken_away_is_a_warning_where_it_is_not_wanted():
    place = Place("ufw", opens=(4,), kept=(SIX, OTHER), why_kept="ufw cannot. Delete it in a file")
    assert openings.warnings([place], ALLOWED, (1, 2)) == [
        "ufw keeps the opening for 198.51.100.7 to port 1-2: ufw cannot. Delete it in a file."
    ]
    (both,) = openings.warnings([place], (), ())
    assert "the opening for 198.51.100.7 to port 1-2, 2001:db8::9 to port 1-2: ufw cannot" in both
    assert differences(place, (), ()) == ((), ())  # nothing that a run could do
    assert openings.warnings([Place("ufw", kept=(SIX,))], ALLOWED, (1, 2)) == []


def test_clients_that_are_refused_whatever_is_opened_are_a_warning():
    shut = Place("ufw", opens=(4,), shut=(6,))
    (warning,) = openings.warnings([shut], ALLOWED, (1, 2))
    assert "/etc/default/ufw has IPV6=no, so that 2001:db8::9 cannot connect: set IPV6=yes there" in warning
    assert "192.0.2.0" not in warning
    assert openings.warnings([shut], ALLOWED[:1], (1, 2)) == [] == openings.warnings([Place("ufw")], ALLOWED, (1, 2))


def test_a_place_is_the_same_after_it_was_data():
    sides = {"own": (FOUR, SIX), "held": (OTHER,), "kept": (SIX,)}
    place = Place("firewalld", "public", False, opens=(4, 6), shut=(6,), why_kept="why", **sides)
    assert openings.place_of(json.loads(json.dumps(openings.place_data(place, ("198.51.100.7",))))) == place
    assert {field.name for field in dataclasses.fields(Place)} == set(openings.place_data(place, ()))


def test_of_rules_of_others_only_those_for_the_listed_networks_leave_the_host():
    """An answer of a host has bounds, and the rule that counts may be the last one of thousands."""
    crowded = Place("ufw", held=(OTHER,) * 6000 + (FOUR,))
    data = openings.place_data(crowded, ALLOWED)
    assert len(data["held"]) == 1
    assert differences(openings.place_of(data)) == ((SIX,), ())


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ([], ["192.0.2.0/24 to port 1-2", "2001:db8::9 to port 1-2"]),
        ([FOUR, SIX], []),
        ([FOUR, Opening("192.0.2.0/25", "1-2"), Opening("2001:db8::/32", "2-9")], ["2001:db8::9 to port 1"]),
        ([Opening("0.0.0.0/0", "1"), Opening("192.0.0.0/16", "2"), SIX], []),
        ([Opening("::/0", "1-2"), Opening("192.0.2.0/25", "1-2")], ["192.0.2.0/24 to port 1-2"]),
        ([Opening("192.0.2.0/25", "1-2"), Opening("192.0.2.128/25", "2"), SIX], ["192.0.2.0/24 to port 1"]),
    ],
)
def test_who_is_shut_out(opened, closed):
    """A network is let through where others hold it, alone or together."""
    assert [str(one) for one in openings.shut_out(opened, ALLOWED, (1, 2))] == closed
