# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""instance_switch as a module: its options and its answer. What it calls has tests of its own."""

from __future__ import annotations

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import switch
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.going_back import WentBack
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.quiet import Quiet
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.switch import Done
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.slowdown import ProvenPlan
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock
from ansible_collections.gpufleet.ollama.plugins.modules import instance_switch

from tests.unit.plugins.module_utils.apply.made_up_host import PASS, MadeUpHost, plan
from tests.unit.plugins.modules.run_module import run_module

OLD, NEW = "0.32.14", "0.32.15"


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    """A host that serves with one instance, and a lock of its own."""
    host = MadeUpHost(tmp_path, monkeypatch)
    host.instance("gpu0", OLD)
    host.release(NEW)
    host.lock = str(tmp_path / "run" / "lock")
    monkeypatch.setattr(instance_switch, "run_lock", lambda wait: run_lock(wait=wait, path=host.lock))
    monkeypatch.setattr(instance_switch, "applied_plan", lambda: plan(OLD, "gpu0"))
    return host


def options(host, **more):
    files = [
        {"path": file.path, "state": file.state, "content": file.content.decode(), "target": file.target or None}
        for file in host.wanted("gpu0", NEW, "TOKEN=a\n")
    ]
    given = {"title": "gpu0", "plan": plan(NEW, "gpu0"), "instances": ["gpu0"], "restart": ["gpu0"], "files": files}
    return dict(given, models=[], **more)


def test_check_do_and_what_is_told(host):
    foreseen = run_module("instance_switch", options(host), check=True)
    assert foreseen["changed"] and host.told == [] and host.of("gpu0")[0] == OLD
    assert [entry["action"] for entry in foreseen["files"]] == ["change", "change"] and len(foreseen["diff"]) == 2
    done = run_module("instance_switch", options(host))
    assert done["changed"] and host.of("gpu0") == (NEW, "TOKEN=a\n") and done["diff"] == foreseen["diff"]
    assert list(done["seconds_without_answer"]) == ["gpu0"] and done["evidence"]["verdict"] == "pass"
    assert (done["went_back"], done["models"]) == ([], []) and "evidence_before" not in done
    assert "TOKEN" not in str(done["files"])


def test_a_failure_has_both_pieces_of_evidence(host):
    host.fails.add(NEW)
    failed = run_module("instance_switch", options(host))
    assert failed["failed"] and failed["went_back"] == ["gpu0"]
    assert "switch of gpu0 to Ollama 0.32.15 failed: gpu0 is slow." in failed["msg"]
    assert "gpu0 went back to Ollama 0.32.14" in failed["msg"]
    assert (failed["evidence"]["verdict"], failed["evidence_before"]["verdict"]) == ("fail", "pass")


def test_a_model_that_is_slower_than_before_goes_back(host, monkeypatch):
    host.rates = {OLD: 40.0, NEW: 30.0}
    before = ProvenPlan(plan(OLD, "gpu0"), {"gpu0": {"tiny:latest": 40.0}}, 1)
    monkeypatch.setattr(instance_switch, "proven_before", lambda applied: before)
    failed = run_module("instance_switch", options(host))
    assert failed["failed"] and failed["went_back"] == ["gpu0"] and host.of("gpu0")[0] == OLD
    assert [finding["finding"] for finding in failed["evidence"]["diagnosis"]] == ["slower"]
    assert "generates 30.0 tokens/s with Ollama 0.32.15, and had 40.0 with Ollama 0.32.14" in failed["msg"]
    done = run_module("instance_switch", options(host, slowdown_allowed=25))
    assert done["changed"] and host.of("gpu0")[0] == NEW


def test_it_waits_for_quiet_and_says_what_was_still_busy(host, monkeypatch):
    asked, told = [], []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text: told.append(text))

    def wait(units, timeout):
        asked.append((list(units), timeout, list(host.told)))
        return Quiet(30.0, tuple(units))

    monkeypatch.setattr(switch, "wait_for_quiet", wait)
    done = run_module("instance_switch", options(host, quiet_timeout=30))
    assert asked == [(["ollama@gpu0.service"], 30, [])] and done["seconds_until_quiet"] == 30.0
    assert told == ["ollama@gpu0.service was stopped in the middle of a request, after 30 seconds of waiting."]
    assert done["seconds_without_answer"]["gpu0"] < 30


def test_nothing_is_changed_without_a_library_or_the_lock(host, monkeypatch):
    with run_lock(path=host.lock):
        held = run_module("instance_switch", options(host, lock_timeout=0))
    assert held["failed"] and "holds" in held["msg"]

    def missing():
        raise LibraryMissing("requests", "")

    monkeypatch.setattr(instance_switch, "import_requests", missing)
    assert run_module("instance_switch", options(host))["missing_library"] == "requests"
    assert host.told == [] and host.of("gpu0")[0] == OLD


@pytest.mark.parametrize("on_gpus", [OLD, NEW])
def test_nothing_is_changed_without_the_library_that_one_of_both_plans_needs(host, monkeypatch, on_gpus):
    """What goes back is proven as well."""
    plans = {version: plan(version, "gpu0") for version in (OLD, NEW)}
    plans[on_gpus]["instances"][0]["gpu_uuids"] = ["GPU-a"]

    def missing():
        raise LibraryMissing("nvidia-ml-py", "")

    monkeypatch.setattr(instance_switch, "applied_plan", lambda: plans[OLD])
    monkeypatch.setattr(instance_switch, "import_pynvml", missing)
    failed = run_module("instance_switch", dict(options(host), plan=plans[NEW]))
    assert failed["missing_library"] == "nvidia-ml-py" and host.told == [] and host.of("gpu0")[0] == OLD


@pytest.mark.parametrize(
    "given, words",
    [
        ({"plan": {}}, "plan.json"),
        ({"files": [{"path": "/x", "state": "link"}]}, "a link needs target"),
        ({"models": [{"instance": "gpu0", "name": "x", "keep_alive": "0"}]}, "Nothing was changed"),
    ],
)
def test_wrong_options_are_refused(host, given, words):
    failed = run_module("instance_switch", dict(options(host), **given))
    assert failed["failed"] and words in failed["msg"] and host.told == []


def test_an_applied_plan_that_is_damaged_is_none(monkeypatch):
    monkeypatch.setattr(instance_switch, "applied_plan", lambda: {"instances": "x"})
    assert instance_switch.applied() == {}


def test_what_is_unproven_and_accepted_is_a_warning(host, monkeypatch):
    finding = {"instance": "gpu0", "evidence": "e", "finding": "unproven", "remedy": "Look."}
    done = Done()
    done.proof = type("P", (), {"evidence": dict(PASS, verdict="unproven", diagnosis=[finding])})()
    monkeypatch.setattr(instance_switch, "make", lambda order, plans, files: done)
    warned = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text: warned.append(text))
    assert not run_module("instance_switch", options(host, unproven="accept")).get("failed")
    assert warned == ["Instance gpu0: e (unproven). Look."]
    done.failure, done.back = "It ended.", WentBack([], PASS, "Oh.")
    assert "Going back to Ollama 0.32.14 failed: Oh." in run_module("instance_switch", options(host))["msg"]
