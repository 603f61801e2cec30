# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which plans are kept: once each, the last five in force, and one release for a rollback."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import history, wanted_files
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.summary import change_line
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import applied_host, difference, kept, model, plan, serving

HIDDEN = {"A_TOKEN": "(hidden)"}


def managed(context=4096, values=None, name="gpu0"):
    """The files of a plan whose model has this context; `values` are those that it hides."""
    wanted = plan(model(parameters={"num_ctx": context}), name=name)
    if values:
        wanted["instances"][0]["environment"].update(HIDDEN)
    return wanted_files.wanted_files(wanted, applied_host(wanted, values), values or {})


def compared(wanted, *plans, leftovers=(), **more):
    """[(kind, number of the plan)] of the changes of a history with these plans."""
    found = history.compare_history(wanted, {"history": {"plans": list(plans), "leftovers": list(leftovers)}}, **more)
    return [(change.kind, int(change.what.rsplit("/", 1)[1])) for change in found]


def test_the_first_plan_has_the_number_1():
    assert compared(managed()) == [("write", 1)]


@pytest.mark.parametrize(
    "new", [managed(8192), managed(name="gpu1"), managed(values={"A_TOKEN": "y"})], ids=["text", "instance", "secret"]
)
def test_another_plan_is_kept_beside_the_one_before(new):
    old = kept(7, managed(values={"A_TOKEN": "x"}))
    assert compared(new, old) == [("write", 8)]


def test_a_plan_in_force_that_is_kept_is_left():
    assert compared(managed(), kept(1, managed(2048)), kept(2, managed())) == []


def test_a_plan_that_comes_into_force_again_keeps_its_number():
    plans = [kept(1, managed()), kept(2, managed(8192))]
    assert compared(managed(), *plans) == [("write", 1)]
    (change,) = history.compare_history(managed(), {"history": {"plans": plans, "leftovers": []}}, rolled_back_from=2)
    assert change.details == {"number": 1, "rolled_back_from": 2}
    assert change_line(change) == "Write history /etc/ollama-multigpu/plans/1: It comes into force again."
    # Now it is the last one.
    assert compared(managed(), plans[1], kept(1, managed(), order=3)) == []


def test_a_unit_that_differs_is_written_into_the_kept_plan():
    there = kept(3, managed())
    there["files"][paths.TEMPLATE_UNIT_FILE] = "0" * 64
    assert compared(managed(), kept(2, managed(8192)), there) == [("write", 3)]
    for given_up in (None, 1):
        there["rolled_back_from"] = given_up
        state = {"history": {"plans": [there], "leftovers": []}}
        (change,) = history.compare_history(managed(), state, rolled_back_from=3)
        assert change.details == {"number": 3, "rolled_back_from": given_up}


def test_the_last_five_in_force_are_kept():
    plans = [kept(number, managed(1024 * number)) for number in (2, 3, 4, 5)]
    again = [*plans, kept(1, managed(1024), order=6)]
    assert compared(managed(9000), *again) == [("write", 6), ("prune", 2)]
    # One that comes into force again is not pruned, whatever its number.
    assert compared(managed(2048), *again) == [("write", 2)]
    more = [*again, kept(6, managed(6 * 1024), order=7)]
    assert compared(managed(6 * 1024), *more) == [("prune", 2)]
    # The first of them would go, and is the one that comes back.
    assert compared(managed(2048), *more) == [("write", 2), ("prune", 3)]


def test_what_is_no_complete_plan_is_removed():
    leftovers = [paths.kept_plan(2), paths.PLANS + "/9"]
    assert compared(managed(), kept(1, managed()), leftovers=leftovers) == [("prune", 2), ("prune", 9)]
    # Its number is taken by the plan that is written.
    assert compared(managed(8192), kept(1, managed()), leftovers=leftovers) == [("write", 2), ("prune", 9)]


def test_a_host_whose_history_is_as_it_should_be_gets_no_change_of_it():
    wanted = plan(model())
    state = applied_host(wanted)
    assert difference(wanted, state, serving(wanted)).changes == ()
    state["history"]["plans"] = []
    assert [change.object for change in difference(wanted, state, serving(wanted)).changes] == ["history"]


def test_one_release_is_kept_for_a_way_back():
    plans = [kept(number, [], release=release) for number, release in enumerate(("0.1.0", "0.2.0", "0.2.0"), 1)]
    assert history.kept_release(plans, "0.3.0") == "0.2.0"
    assert history.kept_release(plans, "0.2.0") == "0.1.0"
    assert history.kept_release(plans[1:], "0.2.0") is None
    wanted = plan(model())
    state = applied_host(wanted)
    state["release"]["complete"] = {"0.32.15": "a" * 64, "0.2.0": "b" * 64, "0.1.0": "c" * 64}
    state["history"]["plans"] = [*plans, dict(copy.deepcopy(state["history"]["plans"][0]), number=4, order=4)]
    pruned = difference(wanted, state, serving(wanted)).of("prune", "release")
    assert [change.what for change in pruned] == [paths.release("0.1.0")]
