# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An instance that everybody reaches although the host has rules of who may connect is a finding."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Rules

from tests.unit.plugins.module_utils.evidence.builders import findings, observations, plan

WANTED, OTHER, PORTS = "a" * 32, "b" * 32, (11434,)


def judged(rules, address="0.0.0.0", reachable=True):
    wanted, seen = plan(), dataclasses.replace(observations(), rules=rules)
    wanted["instances"][0]["address"] = address
    seen.instances["gpu0-1"].reachable = reachable
    return check_plan(wanted, seen)


def rule_checks(evidence):
    return [check.passed for check in evidence.instances[0].checks if check.name == "who_may_connect"]


@pytest.mark.parametrize(
    ("address", "checked"), [("0.0.0.0", [True]), ("[::]", [True]), ("127.0.0.1", []), ("::1", [])]
)
def test_rules_that_are_in_force_pass(address, checked):
    found = judged(Rules(WANTED, loaded=WANTED, ports=PORTS), address)
    assert (found.verdict, findings(found), rule_checks(found)) == ("pass", [], checked)


NOBODY = "they keep nobody out of 0.0.0.0:11434: who can connect is up to other firewalls (ufw, firewalld,"
UNKNOWN = "whom the rules in force let through to 0.0.0.0:11434 is not known, because the role did not write them"
LOAD, RUN = "systemctl reload-or-restart ollama-firewall.service", "Run the role again, which writes and loads them"


@pytest.mark.parametrize(
    ("rules", "words", "outcome", "remedy"),
    [
        (Rules(WANTED), "the table ollama_multigpu is missing", NOBODY, LOAD),
        (Rules(WANTED, loaded=""), "the table ollama_multigpu has other rules", UNKNOWN, LOAD),
        (Rules(WANTED, loaded=OTHER, ports=(11435,)), "has other rules", NOBODY, LOAD),
        (Rules(WANTED, loaded=OTHER, ports=PORTS), "has other rules", "others than the listed hosts may connect", LOAD),
        (Rules(WANTED, loaded=WANTED, ports=(11435,)), "they do not name port 11434", NOBODY, RUN),
        (
            Rules(fault="it is missing", loaded=OTHER, ports=PORTS),
            "firewall.nft: it is missing",
            "ollama@gpu0-1.service does not start again without them",
            RUN,
        ),
        (Rules(fault="it is missing"), "firewall.nft: it is missing", NOBODY, RUN),
        (Rules(fault="it has other rules", loaded=""), "it has other rules", UNKNOWN, RUN),
        (
            Rules(fault="it is missing", problem="Operation not permitted"),
            "it is missing",
            "what is in force is not known: Operation not permitted",
            RUN,
        ),
    ],
)
def test_rules_that_are_not_in_force_are_the_finding(rules, words, outcome, remedy):
    found = judged(rules)
    assert (found.verdict, findings(found), rule_checks(found)) == ("fail", ["open_to_others"], [False])
    told = found.diagnosis[0]
    assert words in told.evidence and outcome in told.evidence and remedy in told.remedy
    assert ("nobody" in told.evidence) is (outcome == NOBODY)  # an unknown is not told as a fact
    assert (told.instance, told.model) == ("gpu0-1", "")


def test_an_instance_that_has_not_started_without_rules_is_not_called_open():
    found = judged(Rules(WANTED, None), reachable=False)
    assert "open_to_others" in findings(found)
    told = next(one for one in found.diagnosis if one.finding == "open_to_others")
    assert "ollama@gpu0-1.service does not start without them" in told.evidence and "nobody" not in told.evidence


def test_an_instance_without_an_address_is_judged_as_one_on_a_network():
    wanted, seen = plan(), dataclasses.replace(observations(), rules=Rules(WANTED))
    wanted["instances"][0].pop("address", None)
    told = check_plan(wanted, seen).diagnosis[0]
    assert told.finding == "open_to_others" and "keep nobody out of port 11434:" in told.evidence


def test_what_is_not_known_of_rules_is_unproven():
    found = judged(Rules(WANTED, problem="Operation not permitted"))
    assert (found.verdict, findings(found), rule_checks(found)) == ("unproven", ["unproven"], [None])
    assert "Operation not permitted" in found.diagnosis[0].evidence


@pytest.mark.parametrize("rules", [Rules(), Rules(loaded=OTHER), Rules(loaded="")])
def test_a_host_without_rules_has_no_such_check(rules):
    found = judged(rules)
    assert (found.verdict, rule_checks(found)) == ("pass", [])


@pytest.mark.parametrize(
    "rules", [Rules(WANTED), Rules(WANTED, problem="Operation not permitted"), Rules(fault="it is missing")]
)
def test_an_instance_on_the_loopback_address_needs_none(rules):
    found = judged(rules, "127.0.0.1")
    assert (found.verdict, rule_checks(found)) == ("pass", [])


def let_through(evidence):
    return [check.passed for check in evidence.instances[0].checks if check.name == "clients_let_through"]


SHUT = (Opening("192.0.2.7", "11434-11435"), Opening("198.51.100.0/24", "11440"))


def test_clients_that_ufw_keeps_out_are_a_finding():
    found = judged(Rules(WANTED, loaded=WANTED, ports=PORTS, closed=SHUT))
    assert (found.verdict, findings(found), let_through(found)) == ("fail", ["closed_to_clients"], [False])
    (told,) = found.diagnosis
    assert (
        told.evidence.startswith("no rule of ufw lets 192.0.2.7 connect to port 11434, although") and told.model == ""
    )
    assert "ufw allow proto tcp from 192.0.2.7 to any port 11434." in told.remedy and rule_checks(found) == [True]
    both = judged(Rules(WANTED, closed=SHUT))
    assert findings(both) == ["open_to_others", "closed_to_clients"]


@pytest.mark.parametrize(("closed", "checked"), [(None, []), ((), [True]), (SHUT[1:], [True])])
def test_where_ufw_is_not_known_or_lets_clients_through_nothing_fails(closed, checked):
    found = judged(Rules(WANTED, loaded=WANTED, ports=PORTS, closed=closed))
    assert (found.verdict, findings(found), let_through(found)) == ("pass", [], checked)


def test_ufw_does_not_concern_an_instance_on_the_loopback_address():
    found = judged(Rules(WANTED, loaded=WANTED, ports=PORTS, closed=SHUT), "127.0.0.1")
    assert (found.verdict, findings(found), let_through(found)) == ("pass", [], [])
