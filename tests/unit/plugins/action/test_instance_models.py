# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The progress of a module that runs in the background, until it has ended or was killed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.ollama.plugins.action import instance_models
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

GIB = 1024**3
GOES_ON = {"finished": 0, "started": 1, "ansible_job_id": "j1.2"}
DONE = {"changed": True, "models": [], "held_back": [], "finished": 1, "ansible_job_id": "j1.2", "extra": "x"}


class Host(instance_models.ActionModule):
    """An action whose host answers what a test says: `records` of the progress file, `answers` of async_status."""

    def __init__(self, records, answers, alive=True):
        self.records, self.answers, self.alive = records, answers, alive
        self.asked, self.options = [], {"async_dir": "~/.ansible_async"}
        self._task = SimpleNamespace(
            args={"fetch_server": {"store": "/s"}},
            check_mode=False,
            async_val=0,
            action="gpufleet.ollama.instance_models",
            no_log=False,
        )
        shell = SimpleNamespace(set_option=self.options.__setitem__, get_option=self.options.get)
        self._connection = SimpleNamespace(_shell=shell)
        self._host_name = "node1"

    def get_shell_option(self, option, default=None):
        return self.options.get(option, default)

    def _low_level_execute_command(self, command, sudoable=True, **more):
        if command.startswith("test -d"):
            return {"rc": 0 if self.alive else 1}
        assert paths.FETCH_PROGRESS in command
        return {"stdout": self.records.pop(0) if len(self.records) > 1 else self.records[0]}

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, wrap_async=False, **more):
        if module_name is None:
            self.asked.append((wrap_async, self._task.async_val, self.options["async_dir"]))
            return {"ansible_job_id": "j1.2", "started": 1} if wrap_async else {"models": []}
        self.asked.append(module_args["mode"])
        assert module_args["_async_dir"].startswith("/run/")
        return self.answers.pop(0) if self.answers else {}


class Clock:
    """Time that passes only while somebody sleeps; `pauses` are the times that were slept."""

    def __init__(self):
        self.pauses = []

    def sleep(self, seconds):
        self.pauses.append(seconds)

    def monotonic(self):
        return 1000.0 + sum(self.pauses)


@pytest.fixture(name="clock", autouse=True)
def _clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(instance_models, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def _screen(monkeypatch):
    shown = []

    def display(text, stderr=False):
        assert stderr, "standard output belongs to the callback"
        shown.append(text)

    monkeypatch.setattr(instance_models, "Display", lambda: SimpleNamespace(display=display))
    return shown


def record(completed, **more):
    return json.dumps(dict({"pid": 7, "models": {"tiny": {"completed": completed, "total": 10 * GIB}}}, **more))


def test_the_progress_is_shown_and_the_result_is_the_modules(_screen):
    host = Host(["", record(GIB), record(5 * GIB), record(5 * GIB, finished=True)], [GOES_ON, dict(DONE)])
    result = host._run_module({})
    assert result == {"changed": True, "failed": False, "models": [], "held_back": []}
    assert len(_screen) == 2 and _screen[0].startswith("node1: tiny 10 % of 10.0 GiB")
    assert host.asked[0] == (True, instance_models.LIMIT, "/run/ollama-multigpu/jobs")
    assert host.asked[-1] == "cleanup" and host._task.async_val == 0 and host.options["async_dir"][0] == "~"


def test_of_a_secret_task_nothing_is_shown(_screen):
    host = Host([record(GIB), record(5 * GIB, finished=True)], [GOES_ON, dict(DONE)])
    host._task.no_log = True
    assert not host._run_module({})["failed"] and not _screen


def test_a_module_that_runs_is_looked_at_and_seldom_asked(clock):
    """The longer it takes, the longer are the pauses."""
    host = Host([record(GIB)], [GOES_ON] * 5 + [dict(DONE)])
    assert not host._run_module({})["failed"]
    assert host.asked.count("status") == 6 and sum(clock.pauses) >= 6 * instance_models.ASK_SECONDS
    assert clock.pauses == sorted(clock.pauses) and (clock.pauses[0], clock.pauses[-1]) == (0.5, 10.0)
    assert all(pause <= max(0.5, sum(clock.pauses[:number]) / 9) for number, pause in enumerate(clock.pauses))


def test_a_fetch_that_has_ended_is_noticed_at_once(clock):
    host = Host([record(GIB)] * 12 + [record(10 * GIB, finished=True)], [dict(DONE)])
    assert not host._run_module({})["failed"] and sum(clock.pauses) < 10
    assert host.asked[1:] == ["status", "cleanup"]


def test_without_a_fetch_server_and_in_check_mode_the_module_runs_as_any_other():
    for change in ({"args": {}}, {"check_mode": True}):
        host = Host([""], [])
        for key, value in change.items():
            setattr(host._task, key, value)
        assert host._run_module({}) == {"models": []} and host.asked == [(False, 0, "~/.ansible_async")]


def test_the_record_of_an_earlier_fetch_says_nothing_of_this_one():
    for old in (record(GIB, finished=True), record(GIB)):
        host = Host([old] * 20, [GOES_ON] * 19 + [dict(DONE)], alive=False)
        assert not host._run_module({})["failed"]


def test_a_module_that_was_killed_is_a_failure_and_no_endless_wait():
    result = Host([record(GIB)], [GOES_ON] * 99, alive=False)._run_module({})
    assert result["failed"] and "was killed" in result["msg"]


def test_a_host_that_is_gone_is_said():
    """A connection that is no SSH may tell it by a module that fails."""
    host = Host([record(GIB), ""], [GOES_ON] + [{"failed": True, "module_stderr": "container is not running"}] * 3)
    result = host._run_module({})
    assert result["failed"] and "node1 does not answer any more" in result["msg"]
    assert "container is not running" in result["msg"] and "run again" in result["msg"]


def test_a_host_that_was_started_anew_is_said():
    lost = {"failed": True, "finished": True, "ansible_job_id": "j1.2", "msg": "could not find job"}
    result = Host([record(GIB), ""], [GOES_ON, lost])._run_module({})
    assert result["failed"] and "started anew" in result["msg"] and "run again" in result["msg"]


def test_an_answer_of_something_else_is_refused():
    with pytest.raises(Exception, match="no module of this collection answers so"):
        Host([""], [dict(DONE, models="x")])._run_module({})


def test_a_host_that_goes_on_for_ever_is_given_up(clock, monkeypatch):
    times = iter(range(0, 10**9, 86400))
    monkeypatch.setattr(clock, "monotonic", lambda: next(times))
    result = Host([record(GIB)], [GOES_ON] * 99)._run_module({})
    assert result["failed"] and "within 7 days" in result["msg"]
