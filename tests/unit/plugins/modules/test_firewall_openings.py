# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""firewall_openings as a module: results, check mode, errors. What it calls has tests of its own."""

from __future__ import annotations

import pytest
from ansible.module_utils import basic
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening, Place
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall_managers, systemd

from tests.unit.plugins.modules.run_module import run_module

OLD = Opening("198.51.100.7", "11434")
WANTED = {"allow_from": ["192.0.2.0/24"], "ports": [11435, 11434]}
NEW = {"manager": "ufw", "zone": "", "lasting": True, "network": "192.0.2.0/24", "ports": "11434-11435"}


class Ufw:
    """A host with ufw, which may complain, and may not do what it is told."""

    def __init__(self):
        self.place, self.complaints, self.obeys, self.told = Place("ufw", own=(OLD,)), [], True, []
        self.others, self.problem, self.warnings = [], None, []

    def places(self, units):
        assert units == "the unit of firewalld"
        return [self.place, *self.others], self.problem

    def mend(self, found):
        self.told += found
        if self.obeys:
            self.place = found[0].mended
        return self.complaints


@pytest.fixture(name="ufw")
def _ufw(monkeypatch):
    manager = Ufw()
    monkeypatch.setattr(systemd, "show", lambda units: "the unit of firewalld")
    monkeypatch.setattr(firewall_managers, "places", manager.places)
    monkeypatch.setattr(firewall_managers, "mend", manager.mend)
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, text: manager.warnings.append(text))
    return manager


def test_openings_are_made_once(ufw):
    predicted = run_module("firewall_openings", WANTED, check=True)
    assert predicted["changed"] and ufw.told == []
    done = run_module("firewall_openings", WANTED)
    for result in (predicted, done):
        assert result["opened"] == [NEW]
        assert result["closed"] == [dict(NEW, network="198.51.100.7", ports="11434")]
        assert result["diff"]["before"] == "ufw: 198.51.100.7 to port 11434, also after a reboot\n"
        assert result["diff"]["after"] == "ufw: 192.0.2.0/24 to port 11434-11435, also after a reboot\n"
    again = run_module("firewall_openings", WANTED)
    assert (again["changed"], again["opened"], again["closed"]) == (False, [], []) and len(ufw.told) == 1
    gone = run_module("firewall_openings", {"allow_from": []})
    assert gone["closed"] == [NEW] and ufw.place.own == ()


def test_what_is_there_in_spite_of_a_complaint_is_a_warning(ufw):
    ufw.complaints = ["ufw fails: ERROR: problem running"]
    assert run_module("firewall_openings", WANTED)["changed"]
    assert ufw.warnings == ["The openings for clients are written, and not all are loaded: %s." % ufw.complaints[0]]


@pytest.mark.parametrize(("complaints", "reason"), [(["ufw fails: no"], "ufw fails: no"), ([], "no command failed")])
def test_what_is_not_there_is_an_error_with_the_reason(ufw, complaints, reason):
    ufw.obeys, ufw.complaints = False, complaints
    failed = run_module("firewall_openings", WANTED)
    assert failed["failed"] and failed["msg"] == (
        "ufw does not let through 192.0.2.0/24 to port 11434-11435 and still lets through 198.51.100.7 to port 11434: "
        "%s. Put that right on the host and run it again." % reason
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"allow_from": ["gateway"]}, "allow_from: gateway is neither an IP address nor a network"),
        ({"allow_from": ["192.0.2.7/24"]}, "give 192.0.2.0/24 for the network"),
        ({"allow_from": [], "ports": [0]}, "ports: 0 is no TCP port, which is 1 to 65535."),
        ({"allow_from": [], "ports": [65536]}, "ports: 65536 is no TCP port"),
    ],
)
def test_options_that_name_nothing_are_refused(ufw, options, told):
    assert told in run_module("firewall_openings", options)["msg"] and ufw.told == []


KEPT = Place("firewalld", "public", opens=(), kept=(OLD,), why_kept="firewalld does not answer")
SILENT = "firewalld keeps the opening for 198.51.100.7 to port 11434 in zone public: firewalld does not answer."


def test_a_manager_that_does_not_answer_is_an_error(ufw):
    ufw.problem = "firewall-cmd fails: no D-Bus"
    failed = run_module("firewall_openings", WANTED)
    assert failed["msg"].startswith("The openings are not known, because firewall-cmd fails: no D-Bus. Make it answer")
    assert ufw.told == []


@pytest.mark.parametrize(("others", "warnings"), [([KEPT], [SILENT]), ([], [])])
def test_it_keeps_nobody_from_taking_away_what_there_is(ufw, others, warnings):
    """Where it has nothing of the collection, nothing is said of it."""
    ufw.problem, ufw.others = "firewall-cmd fails: no D-Bus", others
    done = run_module("firewall_openings", {"allow_from": []})
    assert done["closed"] == [dict(NEW, network="198.51.100.7", ports="11434")] and ufw.place.own == ()
    assert ufw.warnings == warnings


def test_clients_that_are_refused_whatever_is_opened_are_a_warning_also_in_check_mode(ufw):
    ufw.place = Place("ufw", opens=(4,), shut=(6,))
    wanted = dict(WANTED, allow_from=["192.0.2.0/24", "2001:db8::/64"])
    run_module("firewall_openings", wanted, check=True)
    run_module("firewall_openings", wanted)
    (first, second) = ufw.warnings
    assert first == second and "2001:db8::/64 cannot connect" in first


def test_what_is_left_where_the_manager_is_not_in_force_is_a_warning(ufw):
    """It refuses nobody and lets nobody through."""
    ufw.place, ufw.obeys, ufw.complaints = Place("ufw", active=False, own=(OLD,)), False, ["ufw fails: no"]
    done = run_module("firewall_openings", WANTED)
    assert (done["changed"], done["closed"], done["diff"]["after"]) == (False, [], done["diff"]["before"])
    assert ufw.warnings == [
        "ufw is not in force, and would let through 198.51.100.7 to port 11434: ufw fails: no. Put that right on the "
        "host and run it again."
    ]
