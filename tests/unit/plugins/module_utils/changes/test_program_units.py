# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The units that run the program of the host, and what the role's variables change in them."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.program_units import Checking, unit_texts
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.unit_file import unit_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.wanted_files import wanted_files
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import (
    applied_host,
    described,
    difference,
    model,
    plan,
    serving,
    told,
)


def test_nothing_is_left_to_fill_in():
    for checking in (Checking(), Checking(90, True, True)):
        for path, text in unit_texts(checking).items():
            assert not re.search("@[a-z]+@", text), path
            assert "ExecStart=%s " % paths.PROGRAM in text or path == paths.CHECK_TIMER_FILE


def test_an_instance_wants_its_units_and_is_ordered_after_its_gpus():
    text = unit_text("/models")
    (wants,) = re.findall("^Wants=(.*)", text, re.MULTILINE)
    (after,) = re.findall("^After=(.*)", text, re.MULTILINE)
    assert {paths.GPUS_UNIT, "ollama-ready@%i.service"} <= set(wants.split()) and paths.GPUS_UNIT in after.split()
    assert "Requires=" not in text, "an instance starts whatever becomes of them"


def test_loading_follows_each_start_of_the_instance():
    text = unit_texts(Checking())[paths.READY_UNIT_FILE]
    assert "PartOf=ollama@%i.service\n" in text and "After=ollama@%i.service\n" in text
    assert "load %i --after-benchmark\n" in text and "TimeoutStartSec=infinity" in text
    assert "RemainAfterExit" not in text
    assert "RemainAfterExit=true" in unit_texts(Checking())[paths.GPUS_UNIT_FILE], "a restart is not delayed"


def test_a_check_heals_only_where_that_is_asked_for():
    assert "check --heal\n" in unit_texts(Checking(heal=True))[paths.CHECK_UNIT_FILE]
    assert "--heal" not in "".join(unit_texts(Checking()).values())


def test_what_is_unproven_is_accepted_only_where_the_role_accepts_it():
    for path in (paths.READY_UNIT_FILE, paths.CHECK_UNIT_FILE):
        assert "SuccessExitStatus=2\n" in unit_texts(Checking(accept_unproven=True))[path]
        assert "SuccessExitStatus" not in unit_texts(Checking())[path]


@pytest.mark.parametrize("interval, accuracy", [(30, 3), (600, 60), (86400, 60)])
def test_the_timer_has_its_interval(interval, accuracy):
    text = unit_texts(Checking(interval))[paths.CHECK_TIMER_FILE]
    assert "OnActiveSec=%d\n" % interval in text and "OnUnitInactiveSec=%d\n" % interval in text
    assert "AccuracySec=%d\n" % accuracy in text and "WantedBy=timers.target" in text


def test_without_an_interval_there_is_no_timer():
    wanted = plan(model())
    state = applied_host(wanted)
    changes = difference(wanted, state, serving(wanted), checking=Checking(0))
    assert told(changes) == [("disable", "timer", paths.CHECK_TIMER), ("remove", "file", paths.CHECK_TIMER_FILE)]
    state["check_timer"] = {"active": False, "enabled": False}
    del state["files"][paths.CHECK_TIMER_FILE]
    assert difference(wanted, state, serving(wanted), checking=Checking(0)).changes == ()


@pytest.mark.parametrize("active, enabled", [(False, True), (True, False), (False, False)])
def test_a_timer_that_was_stopped_is_started_again(active, enabled):
    wanted = plan(model())
    state = applied_host(wanted, check_timer={"active": active, "enabled": enabled})
    assert told(difference(wanted, state, serving(wanted))) == [("enable", "timer", paths.CHECK_TIMER)]


def test_another_interval_restarts_no_instance():
    wanted = plan(model())
    changes = difference(wanted, applied_host(wanted), serving(wanted), checking=Checking(60, heal=True))
    assert {kind for kind, _what, _path in told(changes)} == {"write"}


METRICS = "/srv/metrics/node"
FILE = METRICS + "/ollama_multigpu.prom"


def with_metrics(wanted, checking):
    """A host to which the plan was applied with metrics, after a check."""
    state = applied_host(wanted)
    managed = wanted_files(wanted, state, checking=checking)
    state["files"] |= {file.path: described(file) for file in managed}
    state["files"][FILE] = dict(described(managed[0]), kind="file")
    (made,) = [json.loads(file.content)["directories"] for file in managed if file.path == paths.MADE]
    return dict(state, metrics_directory=METRICS, made=made)


def test_the_directory_of_the_metrics_is_made_and_told_to_the_program():
    wanted, checking = plan(model()), Checking(90, metrics_directory=METRICS)
    state = applied_host(wanted)
    state["files"]["/srv"] = {"kind": "directory"}
    changes = difference(wanted, state, serving(wanted), checking=checking)
    written = {file.path: file for file in changes.files}
    assert set(written) >= {"/srv/metrics", METRICS, paths.METRICS_SETTINGS, paths.MADE} and "/srv" not in written
    assert json.loads(written[paths.METRICS_SETTINGS].content) == {"directory": METRICS, "check_interval_seconds": 90}
    assert {"/srv/metrics", METRICS} <= set(json.loads(written[paths.MADE].content)["directories"])
    assert {kind for kind, _what, _path in told(changes)} == {"write"}, "no instance is restarted"


def test_a_directory_that_exists_is_left_as_it_is():
    wanted, checking = plan(model()), Checking(metrics_directory=METRICS)
    state = applied_host(wanted)
    state["files"] |= {
        path: {"kind": "directory", "owner": "root", "mode": "0775"} for path in ("/srv", "/srv/metrics", METRICS)
    }
    changes = difference(wanted, state, serving(wanted), checking=checking)
    assert told(changes) == [("write", "file", paths.METRICS_SETTINGS)]


def test_metrics_that_are_wanted_change_nothing_a_second_time():
    wanted, checking = plan(model()), Checking(metrics_directory=METRICS)
    assert difference(wanted, with_metrics(wanted, checking), serving(wanted), checking=checking).changes == ()


def test_metrics_that_are_not_wanted_any_more_go():
    wanted = plan(model())
    state = with_metrics(wanted, Checking(metrics_directory=METRICS))
    changes = difference(wanted, state, serving(wanted))
    assert sorted(told(changes)) == [("remove", "file", paths.METRICS_SETTINGS), ("remove", "file", FILE)]
    assert {change.reason for change in changes.changes} == {"ollama_multigpu_metrics_directory is empty."}


def test_metrics_that_move_leave_no_old_ones():
    wanted = plan(model())
    state = with_metrics(wanted, Checking(metrics_directory=METRICS))
    changes = difference(wanted, state, serving(wanted), checking=Checking(metrics_directory="/srv/other"))
    assert ("remove", "file", FILE) in told(changes) and ("write", "file", paths.METRICS_SETTINGS) in told(changes)


def test_a_directory_of_somebody_else_is_refused_before_anything_is_changed():
    wanted, checking = plan(model()), Checking(metrics_directory=METRICS)
    state = applied_host(wanted)
    state["files"][FILE] = {"kind": "absent", "problem": "/srv/metrics belongs to prometheus, who could exchange it."}
    (problem,) = difference(wanted, state, serving(wanted), checking=checking).obstacles
    assert problem == "/srv/metrics belongs to prometheus, who could exchange it."
