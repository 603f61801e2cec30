# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An instance that everybody reaches although the host has rules of who may connect is a finding."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Rules

from tests.unit.plugins.module_utils.evidence.builders import findings, observations, plan

WANTED, OTHER = "a" * 32, "b" * 32


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
    found = judged(Rules(WANTED, WANTED), address)
    assert (found.verdict, findings(found), rule_checks(found)) == ("pass", [], checked)


@pytest.mark.parametrize(
    ("loaded", "words"), [(None, "the table ollama_multigpu is missing"), (OTHER, "has other rules"), ("", "has other")]
)
def test_rules_that_are_not_in_force_are_the_finding(loaded, words):
    found = judged(Rules(WANTED, loaded))
    assert (found.verdict, findings(found), rule_checks(found)) == ("fail", ["open_to_others"], [False])
    told = found.diagnosis[0]
    assert words in told.evidence and "everybody who reaches the host can connect to 0.0.0.0:11434" in told.evidence
    assert "systemctl reload-or-restart ollama-firewall.service" in told.remedy
    assert (told.instance, told.model) == ("gpu0-1", "")


def test_an_instance_that_has_not_started_without_rules_is_not_called_open():
    found = judged(Rules(WANTED, None), reachable=False)
    assert "open_to_others" in findings(found)
    told = next(one for one in found.diagnosis if one.finding == "open_to_others")
    assert "ollama@gpu0-1.service does not start without them" in told.evidence and "everybody" not in told.evidence


def test_what_is_not_known_of_rules_is_unproven():
    found = judged(Rules(WANTED, None, "Operation not permitted"))
    assert (found.verdict, findings(found), rule_checks(found)) == ("unproven", ["unproven"], [None])
    assert "Operation not permitted" in found.diagnosis[0].evidence


@pytest.mark.parametrize("rules", [Rules(), Rules(loaded=OTHER)])
def test_a_host_without_rules_has_no_such_check(rules):
    found = judged(rules)
    assert (found.verdict, rule_checks(found)) == ("pass", [])


@pytest.mark.parametrize("rules", [Rules(WANTED, None), Rules(WANTED, None, "Operation not permitted")])
def test_an_instance_on_the_loopback_address_needs_none(rules):
    found = judged(rules, "127.0.0.1")
    assert (found.verdict, rule_checks(found)) == ("pass", [])
