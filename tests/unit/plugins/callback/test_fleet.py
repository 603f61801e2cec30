# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The callback that shows a run quietly."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible import context
from ansible.utils.context_objects import CLIArgs
from ansible_collections.gpufleet.ollama.plugins.callback import fleet
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import run_watch
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import shown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawing

from tests.unit.plugins.callback.made_runs import Stats, Task, result_of
from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned

PLAN = planned({"name": "gemma3:27b", "context_length": 8192})


class Run:
    """A callback with what it has printed."""

    def __init__(self, monkeypatch, is_new, verbosity=0):
        self.is_new, self.verbosity = is_new, verbosity
        self.callback = fleet.CallbackModule()
        options = {"display_ok_hosts": True, "result_format": "json"}
        monkeypatch.setattr(self.callback, "get_option", options.get)
        display = SimpleNamespace(verbosity=verbosity, columns=79)
        self.printed = []
        monkeypatch.setattr(context, "CLIARGS", CLIArgs({"check": False}))
        display.display = lambda text, **_options: self.printed.append(text)
        display.banner = display.warning = self.printed.append
        display.deprecated = lambda text, **when: self.printed.append("%s %s" % (text, when))
        monkeypatch.setattr(self.callback, "_display", display)
        monkeypatch.setattr(fleet, "terminal_style", lambda details=False: Style(details=details))
        self.now = 1000.0
        monkeypatch.setattr(run_watch, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.callback.v2_playbook_on_start(SimpleNamespace(_file_name="site.yml"))
        self.callback.v2_playbook_on_play_start(
            SimpleNamespace(get_name=lambda: "Serve models", check_mode=False, strategy="linear")
        )

    def result(self, name, task, answer):
        return result_of(self.is_new, name, task, answer)

    def ends(self, kind, host, task, answer, after=0.0, **options):
        """A task begins, and ends after so many seconds."""
        self.callback.v2_runner_on_start(SimpleNamespace(get_name=lambda: host, name=host), task)
        self.now += after
        getattr(self.callback, "v2_runner_" + kind)(self.result(host, task, answer), **options)

    def shows(self, host, **options):
        """A task of module show that ends well."""
        found = shown(options, Style(details=self.verbosity > 0), host)
        answer = {
            "changed": False,
            "lines": [],
            "drawing": {"lines": drawing(found.lines), "short": drawing(found.short)},
            "overview": found.overview,
        }
        self.ends("on_ok", host, Task("Show", run_watch.SHOW), answer)

    @property
    def text(self):
        return "\n".join(self.printed)


@pytest.fixture(params=[False, True], ids=["2.17", "2.19"])
def run(monkeypatch, request):
    return Run(monkeypatch, request.param)


def test_an_unchanged_run_of_three_hosts_is_short(run):
    for host in ("a", "b", "c"):
        for number in range(30):
            run.ends("on_ok", host, Task("Read %d" % number), {"changed": False})
            run.ends("on_skipped", host, Task("Do %d" % number), {"changed": False, "skipped": True})
        run.shows(host, plan=PLAN, applied=PLAN)
        run.shows(host, difference={"changes": [], "summary": [], "obstacles": []}, plan=PLAN, applied=PLAN)
        run.shows(host, evidence=evidence_of(PLAN), plan=PLAN)
    run.callback.v2_playbook_on_stats(Stats(a={}, b={}, c={}))
    lines = run.text.splitlines()
    assert len(lines) < 40, run.text
    assert "Overview: 3 hosts, 3 proven" in lines and "b: proven, nothing changed" in lines
    assert "a  gemma3:27b-optimized 2 replicas on GPU 0 and 1, as before" in lines
    assert not [line for line in lines if "Read" in line or "Do " in line]


def test_what_is_alike_on_hosts_is_shown_once(run):
    change = {"kind": "write", "object": "file", "what": "/a", "reason": "It is not there.", "stage": "switch"}
    other = planned({"name": "gemma3:27b", "context_length": 4096})
    for host, plan in (("a", PLAN), ("b", PLAN), ("c", other)):
        run.shows(host, plan=plan)
        run.shows(host, difference={"changes": [change], "summary": [], "obstacles": []}, plan=plan)
    text = run.text
    assert text.count("    strategy   ") == 2 and text.count("  the same as on a") == 3
    assert "Plan for Ollama 0.32.15 on b: feasible\n  the same as on a\n" in text
    assert "Changes on c: 1 (switch 1)\n  the same as on a" in text


@pytest.mark.parametrize("module", ["benchmark_info", "benchmark_untouched", "placement_check", "release_files"])
def test_a_task_that_takes_long_is_announced_once_for_all_hosts(run, module):
    task = Task("Take long", "gpufleet.ollama." + module)
    for host in ("a", "b"):
        run.ends("on_ok", host, task, {"changed": False})
    assert run.text.count("Take long ...") == 1, run.text


def test_a_change_is_a_line(run):
    run.ends("on_ok", "a", Task("Write the plan", path="finish/main.yml"), {"changed": True})
    assert run.printed[-1] == "a  changed: Write the plan"
    run.ends("on_ok", "a", Task("Write " + "a plan and " * 9, path="finish/main.yml"), {"changed": True})
    assert max(map(len, run.printed[-1].splitlines())) <= 80
    count = len(run.printed)
    run.ends("on_ok", "a", Task("Write the plan, maybe", check_mode=True), {"changed": True})
    assert len(run.printed) == count
    run.callback.v2_playbook_on_stats(Stats(a={"changed": 2}))
    assert "a: done, 3 tasks changed something" in run.text


def test_a_failure_is_told_with_its_whole_message(run):
    message = "The model does not fit. " * 40 + "Buy a larger one."
    run.ends("on_failed", "a", Task("Refuse"), {"failed": True, "msg": message, "stderr": "E1\x1b[2J\nE2"})
    text = " ".join(run.text.split())
    assert "FAILED on a: Refuse" in text and message in text and "E1\\x1b[2J E2" in text
    run.callback.v2_playbook_on_stats(Stats(a={"failures": 1}, b={}))
    assert "a: FAILED, nothing changed" in run.text and "Overview: 2 hosts, 1 FAILED, 1 done" in run.text
    assert " ".join(run.text.split()).count(message) == 2, "the remedy is at its end, and is wanted in the overview"
    assert max(map(len, run.text.splitlines())) <= 80


def test_the_seconds_of_each_stage_are_measured_however_a_task_ends(run):
    run.ends("on_ok", "a", Task("Read"), {"changed": False}, after=2.0)
    run.ends("on_skipped", "a", Task("Skip"), {"changed": False, "skipped": True}, after=0.5)
    run.ends("on_ok", "a", Task("Start", path="switch/one.yml"), {"changed": True}, after=30.25)
    assert run.printed[-1] == "a  changed: Start, 30 s"
    run.ends("on_failed", "a", Task("Prove", path="verify.yml"), {"failed": True, "msg": "no"}, after=4.0)
    run.ends("on_unreachable", "b", Task("Read"), {"unreachable": True, "msg": "No route."}, after=10.0)
    # Tasks of several hosts run at the same time.
    task = Task("Fetch", path="fetch/main.yml")
    for host in ("a", "b"):
        run.callback.v2_runner_on_start(SimpleNamespace(get_name=lambda host=host: host, name=host), task)
    for host in ("a", "b"):
        run.now += 1.5
        run.callback.v2_runner_on_ok(run.result(host, task, {"changed": False}))
    run.callback.v2_playbook_on_stats(Stats(a={"failures": 1}, b={"unreachable": 1}))
    assert run.text.splitlines()[-3:] == [
        "seconds  plan  fetch  switch  verify   all",
        "a         2.5    1.5    30.2     4.0  38.2",
        "b        10.0    3.0     0.0     0.0  13.0",
    ]


def test_evidence_that_passes_is_shown_where_it_is_news(run):
    """After a change, and where nothing else is shown, as by the playbook verify."""
    run.shows("a", plan=PLAN, applied=PLAN)
    run.shows("a", evidence=evidence_of(PLAN), plan=PLAN)
    assert "Evidence on a" not in run.text
    run.ends("on_ok", "a", Task("Write the plan", path="finish/main.yml"), {"changed": True})
    run.shows("a", evidence=evidence_of(PLAN), plan=PLAN)
    run.shows("b", evidence=evidence_of(PLAN), plan=PLAN)
    assert run.text.count("Evidence on a. Verdict: pass") == 1 and "Evidence on b. Verdict: pass" in run.text


def test_a_diagnosis_counts_the_hosts_with_findings(run):
    finding = {"finding": "xid", "confidence": "certain"}
    run.shows("a", diagnosis={"looked_at": [], "lines": ["xid: seen."], "findings": [finding]})
    run.shows("b", diagnosis={"looked_at": [], "lines": ["Nothing was found."], "findings": []})
    run.callback.v2_playbook_on_stats(Stats(a={}, b={}))
    assert "Overview: 2 hosts, 1 with findings, 1 without findings" in run.text
    assert "a: with findings\n  1 certain, see above" in run.text


def test_the_playbook_plan_says_what_a_run_would_change(run):
    """A file of the host was edited, and the plan is the one in force. Of site, skipped tasks are stages as well."""
    change = {"kind": "write", "object": "file", "what": "/a", "reason": "It differs.", "stage": "switch"}
    difference = {"changes": [change], "summary": [], "obstacles": []}
    for host in ("a", "b"):
        run.ends("on_ok", host, Task("Read", path="plan/host.yml"), {"changed": False})
        run.shows(host, plan=PLAN, applied=PLAN)
        run.shows(host, difference=difference, plan=PLAN, applied=PLAN)
    for path in ("install/main.yml", "fetch/main.yml", "switch/main.yml", "finish/main.yml"):
        run.ends("on_skipped", "b", Task("Do " + path, path=path), {"changed": False, "skipped": True})
    run.callback.v2_playbook_on_stats(Stats(a={}, b={}))
    assert "a: would change\n  1 change, see above\n" in run.text and "b: as planned, nothing changed" in run.text


def test_what_is_rescued_is_no_failure_at_the_end(run):
    run.ends("on_failed", "a", Task("Try"), {"failed": True, "msg": "no"})
    run.callback.v2_playbook_on_stats(Stats(a={"rescued": 1}))
    assert "a: done" in run.text


def test_a_host_that_is_not_reached(run):
    run.ends("on_unreachable", "a", Task("Read"), {"unreachable": True, "msg": "No route."})
    run.callback.v2_playbook_on_stats(Stats(a={"unreachable": 1}))
    assert "UNREACHABLE on a: Read" in run.text and "Read: No route." in run.text


def test_results_with_no_log_stay_hidden(run):
    censored = "the output has been hidden due to the fact that 'no_log: true' was specified for this result"
    run.ends("on_failed", "a", Task("Read secrets"), {"failed": True, "censored": censored, "changed": False})
    assert censored in " ".join(run.text.split())


def test_items_of_a_loop(run):
    task = Task("Loop", loop=["x"])
    item = {"failed": True, "msg": "It is broken.", "item": "x", "ansible_loop_var": "item", "_ansible_item_label": "x"}
    run.callback.v2_runner_item_on_failed(run.result("a", task, item))
    run.ends("on_failed", "a", task, {"failed": True, "msg": "One or more items failed", "results": [item]})
    assert run.text.count("It is broken.") == 1 and "One or more" not in run.text
    assert "FAILED on a: Loop (x)" in run.text


def test_what_a_task_of_debug_says_is_shown(run):
    answer = {"changed": False, "msg": "one\ntwo", "_ansible_verbose_always": True}
    run.ends("on_ok", "a", Task("Say", "ansible.builtin.debug"), answer)
    assert run.printed[-1] == "a: one\na: two"
    run.ends("on_ok", "a", Task("Say it", "ansible.builtin.debug"), dict(answer, msg=["x"]))
    assert '"x"' in run.printed[-1]


def test_differences_of_files_are_shown_and_harmless(run):
    diff = {"before": "a\n", "after": "b\x07\x1b[2J\n", "before_header": "/x", "after_header": "/x"}
    run.callback.v2_on_file_diff(run.result("a", Task("Write"), {"changed": True, "diff": [diff]}))
    assert "a: Write" in run.text and "+b\\x07\\x1b[2J" in run.text
    count = len(run.printed)
    run.callback.v2_on_file_diff(run.result("a", Task("Write"), {"changed": False, "diff": [diff]}))
    assert len(run.printed) == count
    run.callback.v2_on_file_diff(run.result("b", Task("Write"), {"changed": True, "diff": [diff]}))
    assert run.printed[count:] == ["b: Write: the same as on a"]
    other = dict(diff, after="c\n")
    run.callback.v2_on_file_diff(run.result("c", Task("Write"), {"changed": True, "diff": [other]}))
    assert "+c" in run.printed[-1]


@pytest.mark.parametrize("kind, more", [("on_ok", {"changed": False}), ("on_failed", {"failed": True, "msg": "no"})])
def test_what_a_host_warns_of_is_told_once_and_harmless(run, kind, more):
    """As both versions of ansible-core hand them on; the newer one with `deprecator`."""
    old = {"msg": "old \x1b[2J", "version": "9.9\x07", "collection_name": "a.b\x9b2J", "deprecator": {"type": "module"}}
    dated = {"msg": "older", "date": "2027-01-01", "collection_name": None}
    answer = dict(more, warnings=["one \x1b[2J end\nsecond \x1b[31mred"], deprecations=[old, dated])
    run.ends(kind, "a", Task("Warn"), answer)
    assert "\x1b[2J" not in run.text and "\x07" not in run.text and "\x9b" not in run.text
    assert run.text.count("one \\x1b[2J end\nsecond \x1b[31mred") == 1
    assert (
        run.text.count("old \\x1b[2J {'version': '9.9\\\\x07', 'date': None, 'collection_name': 'a.b\\\\x9b2J'}") == 1
    )
    assert run.text.count("older {'version': None, 'date': '2027-01-01', 'collection_name': None}") == 1
    run.ends(kind, "a", Task("Warn not"), dict(more, warnings=[], deprecations=None))


@pytest.mark.parametrize("value", ["text", 5, {"a": 1}, [None, 5, ["x"], "old"]])
def test_warnings_of_any_structure_hide_no_failure(run, value):
    run.ends("on_failed", "a", Task("Try"), {"failed": True, "msg": "broken", "warnings": value, "deprecations": value})
    assert "FAILED on a: Try" in run.text and "broken" in run.text


def test_warnings_that_ansible_is_told_to_leave_out(run, monkeypatch):
    monkeypatch.setattr(fleet.constants, "ACTION_WARNINGS", False)
    run.ends("on_ok", "a", Task("Warn"), {"changed": False, "warnings": ["one"], "deprecations": [{"msg": "old"}]})
    assert "one" not in run.text and "old" not in run.text


def test_details_are_those_of_the_default_callback(monkeypatch):
    run = Run(monkeypatch, is_new=hasattr(fleet.Default, "v2_runner_on_ok") and _core_is_new(), verbosity=1)
    task = Task("Read", path="verify.yml")
    run.callback.v2_playbook_on_task_start(task, False)
    run.ends("on_ok", "a", task, {"changed": False, "found": 1})
    run.shows("a", plan=PLAN, applied=PLAN)
    run.callback.v2_playbook_on_stats(Stats(a={"ok": 2}))
    assert "ok: [a] => " in run.text and "PLAY RECAP" in run.text and "Overview: 1 host" in run.text
    assert "    memory     gpu0 GPU 0: 63 layers, weights " in run.text
    assert " GPU-00000001-1111-2222-3333-444444444444, " in run.text


def _core_is_new():
    from ansible.release import __version__

    return tuple(map(int, __version__.split(".")[:2])) >= (2, 19)
