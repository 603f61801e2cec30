# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The callback that ends a run with an overview, beside any stdout callback."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible import context
from ansible.utils.context_objects import CLIArgs
from ansible_collections.gpufleet.ollama.plugins.callback import overview
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import run_watch
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import shown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style

from tests.unit.plugins.callback.made_runs import Stats, Task, result_of
from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned

PLAN = planned({"name": "gemma3:27b", "context_length": 8192})


class Run:
    """The callback with what it has printed: (text, whether to standard error)."""

    def __init__(self, monkeypatch, is_new):
        self.is_new, self.now, self.printed = is_new, 1000.0, []
        monkeypatch.setattr(context, "CLIARGS", CLIArgs({"check": False}))
        monkeypatch.setattr(overview, "terminal_style", lambda details=False: Style(details=details))
        monkeypatch.setattr(run_watch, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.callback = overview.CallbackModule()
        display = SimpleNamespace(verbosity=0, display=lambda text, stderr=False: self.printed.append((text, stderr)))
        monkeypatch.setattr(self.callback, "_display", display)
        self.callback.v2_playbook_on_start(SimpleNamespace(_file_name="site.yml"))

    def ends(self, kind, name, task, answer, after=0.0):
        self.callback.v2_runner_on_start(SimpleNamespace(get_name=lambda: name, name=name), task)
        self.now += after
        getattr(self.callback, "v2_runner_" + kind)(result_of(self.is_new, name, task, answer))

    def shows(self, name, **options):
        answer = {"changed": False, "lines": ["x"], "overview": shown(options, Style(), name).overview}
        self.ends("on_ok", name, Task("Show", run_watch.SHOW), answer)

    def end(self, **counted):
        self.callback.v2_playbook_on_stats(Stats(**counted))
        return [line for text, _stderr in self.printed for line in text.splitlines()]


@pytest.fixture(params=[False, True], ids=["2.17", "2.19"])
def run(monkeypatch, request):
    return Run(monkeypatch, request.param)


def test_a_run_ends_with_its_hosts_and_seconds(run):
    run.shows("a", plan=PLAN, applied={})
    run.ends("on_ok", "a", Task("Start", path="switch/one.yml"), {"changed": True}, after=30.25)
    run.ends("on_skipped", "a", Task("Skip", path="switch/one.yml"), {"skipped": True}, after=0.5)
    run.shows("a", evidence=evidence_of(PLAN), plan=PLAN)
    run.ends("on_failed", "b", Task("Refuse"), {"failed": True, "msg": "It does not fit."}, after=2.0)
    run.ends("on_unreachable", "c", Task("Read"), {"unreachable": True, "msg": "No route."}, after=10.0)
    assert run.printed == []
    found = run.end(a={"changed": 1}, b={"failures": 1}, c={"unreachable": 1})
    assert found[:2] == ["", "Overview: 3 hosts, 1 proven, 1 FAILED, 1 UNREACHABLE"]
    assert "a: proven, 1 task changed something" in found and "  Refuse: It does not fit." in found
    assert "  Read: No route." in found and len([line for line in found if "observed 17.5 GiB" in line]) == 2
    assert found[-4:] == [
        "seconds  plan  switch   all",
        "a         0.0    30.8  30.8",
        "b         2.0     0.0   2.0",
        "c        10.0     0.0  10.0",
    ]


def test_items_of_a_loop(run):
    """What each of them shows and why one fails; the loop as a whole says it again."""
    loop = Task("Show", run_watch.SHOW, loop=["x"])
    item = {"changed": False, "overview": shown({"plan": PLAN, "applied": PLAN}, Style(), "a").overview}
    run.callback.v2_runner_item_on_ok(result_of(run.is_new, "a", loop, item))
    run.ends("on_ok", "a", loop, {"changed": False, "results": [item]})
    failing = {"failed": True, "msg": "It is broken.", "item": "x"}
    run.callback.v2_runner_item_on_failed(result_of(run.is_new, "b", Task("Loop", loop=["x"]), failing))
    run.ends("on_failed", "b", Task("Loop", loop=["x"]), {"failed": True, "msg": "One failed", "results": [failing]})
    found = run.end(a={}, b={"failures": 1})
    assert "a: as planned, nothing changed" in found and "  Loop: It is broken." in found


@pytest.mark.parametrize(
    "stdout, printed", [("default", [False]), ("gpufleet.ollama.fleet", []), ("ansible.posix.jsonl", [True])]
)
def test_where_it_prints_depends_on_the_stdout_callback(run, monkeypatch, stdout, printed):
    settings = SimpleNamespace(get_config_value=lambda name: {"DEFAULT_STDOUT_CALLBACK": stdout}[name])
    monkeypatch.setattr("ansible.constants.config", settings)
    run.ends("on_ok", "a", Task("Read"), {"changed": False})
    run.end(a={})
    assert [stderr for _text, stderr in run.printed] == printed


def test_a_run_without_hosts_prints_nothing(run):
    assert run.end() == []
