# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What changed since the last report, and the history of verdicts."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import history

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import (
    MODEL,
    TIME,
    as_json,
    report_of,
    unreachable,
    variables,
)
from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned

LATER = "2026-11-30T09:00:00Z"


def since(before, **found):
    return report_of(as_json(before), LATER, **found).since


def test_the_first_report_compares_nothing():
    assert report_of(a=variables()).since.time == ""


def test_nothing_differs_from_itself():
    found = since(report_of(a=variables(), b=unreachable()), a=variables(), b=unreachable("other words"))
    assert (found.time, found.changes) == (TIME, {})


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda given: given["__ollama_multigpu_placement"]["placement"].update(ollama_version="0.33.0"), "0.33.0"),
        (lambda given: given["ansible_facts"]["gpu_inventory"].update(driver_version="590.1"), "580.65 -> 590.1"),
        (
            lambda given: given["ansible_facts"]["gpu_inventory"]["gpus"][0].update(health={"state": "degraded"}),
            "GPU 0 (GPU-00000001-1111-2222-3333-444444444444): ok -> degraded",
        ),
        (
            lambda given: given["ansible_facts"]["gpu_inventory"]["gpus"].pop(),
            "GPU 1 (GPU-00000002-1111-2222-3333-444444444444): ok -> unusable",
        ),
        (
            lambda given: given["__ollama_multigpu_evidence"]["instances"][0]["models"][0].update(tokens_per_second=9),
            "tokens/s of gemma3:27b-optimized on gpu0: 41.5 -> 9",
        ),
        (lambda given: given["__ollama_multigpu_evidence"].update(verdict="fail"), "as planned -> not as planned"),
    ],
)
def test_what_differs_is_said(change, said):
    given = variables()
    change(given)
    phrases = since(report_of(a=variables()), a=given).changes["a"]
    assert [phrase for phrase in phrases if said in phrase], phrases


def test_speeds_that_differ_a_little_are_the_same():
    given = variables()
    given["__ollama_multigpu_evidence"]["instances"][0]["models"][0]["tokens_per_second"] = 38
    assert since(report_of(a=variables()), a=given).changes == {}


def test_hosts_gpus_and_models_that_come_and_go():
    one = variables(sizes=(hosts.A6000,))
    found = since(report_of(a=variables(), b=one), a=one, c=one).changes
    assert found["b"] == ["is not in the report any more"] and found["c"] == ["is new in the report"]
    assert "GPU 1 (GPU-00000002-1111-2222-3333-444444444444) is gone" in found["a"]
    assert "gemma3:27b-optimized on gpu1 is gone" in found["a"]


def test_of_a_host_that_does_not_answer_only_that_is_said():
    assert since(report_of(a=variables()), a=unreachable()).changes == {"a": ["state: as planned -> unreachable"]}


def failed(**more):
    """A host whose run has failed."""
    return variables(failure={"task": "Read the GPUs", "msg": "no room"}, **more)


def unread():
    """A host whose run has failed before anything was read."""
    given = failed()
    kept = ("__ollama_multigpu_failure", "__ollama_multigpu_run_ended")
    return {key: value for key, value in given.items() if key in kept}


def test_of_a_host_that_was_not_read_only_the_state_is_said():
    assert report_of(a=unread()).hosts[0].state == "failed"
    assert since(report_of(a=variables()), a=unread()).changes == {"a": ["state: as planned -> failed"]}
    assert since(report_of(a=unread()), a=variables()).changes == {"a": ["state: failed -> as planned"]}


def test_of_a_host_that_has_failed_later_the_rest_is_said_as_well():
    one = failed(sizes=(hosts.A6000,))
    said = since(report_of(a=variables()), a=one).changes["a"]
    assert [phrase for phrase in said if phrase.startswith("GPU 1") and phrase.endswith("is gone")], said


def test_a_run_that_was_killed_does_not_take_the_place_of_the_last_report():
    first = report_of(a=variables())
    begun = report_of(as_json(first), LATER, complete=False, a=variables(run_ended=None))
    assert begun.since.time == ""
    again = report_of(as_json(begun), LATER, complete=False, a=variables(run_ended=None))
    found = since(again, a=variables(verdict="fail"))
    assert (found.time, found.changes) == (TIME, {"a": ["state: as planned -> not as planned"]})


@pytest.mark.parametrize(
    "last", [{"hosts": 5}, {"complete": True, "hosts": [1, {}]}, {"baseline": {"hosts": {"a": 1}}}]
)
def test_a_last_report_of_any_structure_is_borne(last):
    assert report_of(last, a=variables()).hosts[0].state == "as planned"


# -- history -----------------------------------------------------------------------------------------------------------


def plans(*entries):
    keys = ("number", "time", "release", "verdict", "tokens_per_second")
    return {"plans": [dict(zip(keys, entry)) for entry in entries], "leftovers": []}


def test_the_history_has_plans_checks_and_runs_in_order():
    given = variables()
    given["__ollama_multigpu_reached"]["host"].update(
        history=plans((3, "2026-11-01T00:00:00Z", "0.32.10", "pass", {"gpu0": {"gemma3:27b": 40.0}})),
        last_check={"verdict": "fail", "time": "2026-11-02T00:00:00Z"},
    )
    found = report_of(a=given).hosts[0].history
    assert [(one.source, one.verdict) for one in found] == [
        ("plan 3", "pass"),
        ("check on the host", "fail"),
        ("run", "pass"),
    ]
    assert found[0].tokens_per_second == {"gemma3:27b on gpu0": 40.0}
    places = ["gemma3:27b-optimized on gpu0", "gemma3:27b-optimized on gpu1"]
    assert found[2].tokens_per_second == dict.fromkeys(places, 41.5)


def test_the_history_goes_on_from_report_to_report_and_ends():
    last = {}
    for day in range(1, 31):
        last = as_json(report_of(last, "2026-10-%02dT00:00:00Z" % day, a=variables()))
    times = [one["time"] for one in last["hosts"][0]["history"]]
    assert len(times) == history.KEPT and times == sorted(times) and times[-1].startswith("2026-10-30")


def test_a_host_that_cannot_be_reached_keeps_its_history():
    last = as_json(report_of(a=variables()))
    assert [one.time for one in report_of(last, LATER, a=unreachable()).hosts[0].history] == [TIME]


def test_entries_without_a_time_are_none():
    given = variables(evidence=dict(evidence_of(planned(MODEL)), verdict=None))
    given["__ollama_multigpu_reached"]["host"]["history"] = plans((3, "<b>", "r", "pass", 5), (4, None, [], {}, {}))
    assert report_of(a=given).hosts[0].history == []
