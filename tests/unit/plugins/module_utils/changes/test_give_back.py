# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run that fails gives back of an Ollama that it took over."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import give_back

from tests.unit.plugins.module_utils.changes.builders import EXISTING, applied_host, difference, host, model, plan

STOPPED = dict(EXISTING, active=False, enabled=False)
RECORD = dict(EXISTING, command=True)
GIVEN = {"unit": "ollama.service", "command": True, "active": True, "enabled": True, "stop": ["ollama@gpu0.service"]}


def given_back(state, **settings):
    wanted = plan(model("tiny"))
    return give_back.give_back(state, wanted, difference(wanted, state, **settings))


def test_what_is_recorded_of_an_adopted_ollama():
    assert give_back.adoption_record(host(existing=EXISTING, command="foreign")) == RECORD
    assert give_back.adoption_record(host(command="foreign"))["unit"] == ""


def test_what_this_run_takes_over_is_given_back():
    assert given_back(host(existing=EXISTING, command="foreign"), adopt=True) == GIVEN
    quiet = host(existing=dict(EXISTING, active=False), command="foreign")
    assert given_back(quiet, adopt=True) == dict(GIVEN, active=False)


def test_what_a_killed_run_took_over_is_given_back_as_it_was():
    """The record says how it was; the service itself is stopped already."""
    assert given_back(host(existing=STOPPED, adopted=RECORD, command="ours"), adopt=True) == GIVEN
    assert given_back(host(existing=EXISTING, adopted=dict(RECORD, enabled=False)), adopt=True)["enabled"] is False


@pytest.mark.parametrize("state", [{}, {"existing": EXISTING}, {"existing": STOPPED}])
def test_without_an_adoption_nothing_is_given_back(state):
    assert given_back(host(**state)) == {}


def test_where_a_plan_is_in_force_its_instances_serve():
    wanted = plan(model("tiny"))
    assert given_back(applied_host(wanted, existing=STOPPED, adopted=RECORD), adopt=True) == {}
    again = applied_host(wanted, existing=EXISTING, adopted=RECORD)
    assert given_back(again, adopt=True) == GIVEN, "unless it was started since, and is taken over again"
