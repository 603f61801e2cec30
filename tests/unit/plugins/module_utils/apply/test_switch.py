# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One switch: what is done in which order, what it reports, and that it goes back where it fails."""

from __future__ import annotations

import dataclasses
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import switch
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.proof import Proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.switch import Order, Plans, foresee, make
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files, WantedFile
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import Ownership
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import ensure_list
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import Outcome

from tests.unit.plugins.module_utils.apply.made_up_host import PASS, MadeUpHost, plan
from tests.unit.plugins.module_utils.ollama.test_ensure import wanted

OLD, NEW = "0.32.14", "0.32.15"


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    """A host that serves with two instances."""
    host = MadeUpHost(tmp_path, monkeypatch)
    for name in ("gpu0", "gpu1"):
        host.instance(name, OLD)
    host.release(NEW)
    host.apply(plan(OLD, "gpu0", "gpu1"))
    return host


def order(host, name, version=NEW, environment="A=2\n", **more):
    return Order(
        **dict({"instances": (name,), "restart": (name,), "files": host.wanted(name, version, environment)}, **more)
    )


def both():
    return Plans(plan(NEW, "gpu0", "gpu1"), plan(OLD, "gpu0", "gpu1"))


def test_an_instance_is_stopped_changed_started_and_proven(host):
    done = make(order(host, "gpu0", enable=("gpu0",), reload=True), both(), host.files)
    assert done.failure == "" and done.back is None
    assert host.told == [
        ("stop", "ollama@gpu0.service"),
        ("reload",),
        ("enable", "ollama@gpu0.service"),
        ("start", "ollama@gpu0.service"),
        ("prove", NEW, "gpu0"),
    ]
    assert host.of("gpu0") == (NEW, "A=2\n") and host.of("gpu1") == (OLD, "A=1\n")
    assert list(done.seconds_without_answer) == ["gpu0"] and [one.action for one in done.files] == ["change", "change"]


def test_where_nothing_served_no_seconds_are_said(host):
    host.active.clear()
    assert make(order(host, "gpu0"), both(), host.files).seconds_without_answer == {}


def test_without_a_restart_no_service_is_touched(host):
    make(Order(instances=("gpu0",)), both(), host.files)
    assert host.told == [("prove", NEW, "gpu0")]


@pytest.mark.parametrize("how", ["ends", "fails"])
def test_a_switch_that_fails_goes_back_and_is_proven_again(host, how):
    getattr(host, how).add(NEW)
    done = make(order(host, "gpu0"), both(), host.files)
    assert done.failure in ("ollama@gpu0.service ended.", "gpu0 is slow.")
    assert done.back.failure == "" and done.back.instances == ["gpu0"]
    assert host.of("gpu0") == (OLD, "A=1\n") and host.told[-1] == ("prove", OLD, "gpu0")
    assert host.active == host.enabled == {"gpu0", "gpu1"} and not os.path.exists(paths.BEFORE)


def test_what_was_switched_before_goes_back_too_in_reverse_order(host):
    make(order(host, "gpu0"), both(), host.files)
    host.fails.add(NEW)
    done = make(order(host, "gpu1"), both(), host.files)
    assert done.back.instances == ["gpu1", "gpu0"] and host.of("gpu0") == host.of("gpu1") == (OLD, "A=1\n")


def test_a_run_that_goes_on_where_another_was_killed_goes_back_to_what_was_before_that(host):
    """gpu0 was changed by a run that was killed, and is changed once more."""
    make(order(host, "gpu0", environment="A=2\n"), both(), host.files)
    host.fails.add(NEW)
    make(order(host, "gpu0", environment="A=3\n"), both(), host.files)
    assert host.of("gpu0") == (OLD, "A=1\n")


def test_what_belongs_to_another_plan_is_not_gone_back_to(host):
    make(order(host, "gpu0"), both(), host.files)
    applied = plan(NEW, "gpu0", "gpu1")
    host.apply(applied)
    host.fails.add("0.32.16")
    make(order(host, "gpu0", "0.32.16"), Plans(plan("0.32.16", "gpu0", "gpu1"), applied), host.files)
    assert host.of("gpu0") == (NEW, "A=2\n")


def regrouped(host):
    """The switch of two instances to one on both GPUs."""
    gone = [
        WantedFile(path, "absent")
        for name in ("gpu0", "gpu1")
        for path in (paths.environment_file(name), paths.instance_release(name))
    ]
    return Order(
        instances=("gpu0-1",),
        stop=("ollama@gpu0.service", "ollama@gpu1.service"),
        restart=("gpu0-1",),
        enable=("gpu0-1",),
        files=(*gone, *host.wanted("gpu0-1", NEW)),
    )


def test_instances_that_are_gone_do_not_start_at_boot_any_more(host):
    done = make(regrouped(host), Plans(plan(NEW, "gpu0-1"), plan(OLD, "gpu0", "gpu1")), host.files)
    assert done.failure == "" and host.active == host.enabled == {"gpu0-1"}
    assert host.of("gpu0") is None and host.of("gpu1") is None


def test_instances_that_are_regrouped_go_back_together(host):
    host.fails.add(NEW)
    done = make(regrouped(host), Plans(plan(NEW, "gpu0-1"), plan(OLD, "gpu0", "gpu1")), host.files)
    assert done.seconds_without_answer.keys() == {"gpu0-1"}
    assert sorted(done.back.instances) == ["gpu0", "gpu1"] and host.active == host.enabled == {"gpu0", "gpu1"}
    assert host.of("gpu0-1") is None and host.of("gpu1") == (OLD, "A=1\n")


def test_without_a_plan_before_nothing_goes_back(host):
    host.fails.add(NEW)
    done = make(order(host, "gpu0"), Plans(plan(NEW, "gpu0")), host.files)
    assert done.failure and done.back is None and host.of("gpu0") == (NEW, "A=2\n")
    assert not os.path.exists(paths.BEFORE)


def test_models_are_linked_before_the_start_and_loaded_after_it(host, monkeypatch):
    model = wanted(store="/nowhere")
    steps = []

    def link_all(models):
        steps.append(("link", host.told[-1][0]))
        return [(one, Outcome("link", "sha256:a")) for one in models]

    def ensure_all(models, around):
        steps.append(("ensure", host.told[-1][0]))
        for one in models:
            with around(one):
                pass
        return ensure_list.Progress([(one, Outcome(digest="sha256:a")) for one in models])

    monkeypatch.setattr(ensure_list, "link_all", link_all)
    monkeypatch.setattr(ensure_list, "ensure_all", ensure_all)
    done = make(order(host, "gpu0", models=(model,)), both(), host.files)
    assert steps == [("link", "stop"), ("ensure", "start")]
    assert [outcome.action for _wanted, outcome in done.progress.done] == ["link"]


@pytest.mark.parametrize("restart", [(), ("gpu0",)])
def test_a_model_is_unloaded_before_its_running_instance_has_another_plan(host, monkeypatch, restart):
    moved, releases = wanted(state="unloaded"), []

    def ensure_all(models, around=None):
        releases.append(host.of("gpu0")[0])
        return ensure_list.Progress([(one, Outcome("unload" if len(releases) == 1 else "none")) for one in models])

    monkeypatch.setattr(ensure_list, "ensure_all", ensure_all)
    done = make(order(host, "gpu0", models=(moved,), restart=restart), both(), host.files)
    assert releases == ([NEW] if restart else [OLD, NEW])
    assert [outcome.action for _wanted, outcome in done.progress.done] == ["unload"]


def test_a_model_that_cannot_be_unloaded_leaves_its_instance_as_it_was(host, monkeypatch):
    moved = wanted(state="unloaded")
    monkeypatch.setattr(
        ensure_list, "ensure_all", lambda models: ensure_list.Progress(failures=[(moved, "it is asked")])
    )
    done = make(order(host, "gpu0", models=(moved,), restart=()), both(), host.files)
    assert "it is asked" in done.failure and host.of("gpu0")[0] == OLD and done.files == []


@pytest.mark.parametrize("differs", [False, True])
def test_models_that_fail_or_have_another_header_go_back(host, monkeypatch, differs):
    model = wanted()
    progress = (
        ensure_list.Progress([(model, Outcome(header_differs=True))])
        if differs
        else ensure_list.Progress(failures=[(model, "the server answers with an error")])
    )
    monkeypatch.setattr(ensure_list, "ensure_all", lambda models, around: progress)
    done = make(order(host, "gpu0", models=(model,)), both(), host.files)
    assert ("tiny:latest of gpu0" if differs else "answers with an error") in done.failure
    assert host.of("gpu0") == (OLD, "A=1\n") and done.back.failure == ""


def test_what_cannot_be_put_in_place_goes_back(host):
    nobody = WantedFile(paths.environment_file("gpu0"), content=b"x", ownership=Ownership(owner="no-such-user"))
    files = (host.wanted("gpu0", NEW)[0], nobody)
    done = make(Order(instances=("gpu0",), restart=("gpu0",), files=files), both(), host.files)
    assert "no-such-user" in done.failure and done.back.instances == ["gpu0"] and host.of("gpu0") == (OLD, "A=1\n")


def test_what_cannot_be_kept_is_not_touched(host):
    os.makedirs(paths.environment_file("gpu7"))
    done = make(order(host, "gpu7"), both(), host.files)
    assert "not a regular file" in done.failure and done.back is None and host.told == []


def test_a_switch_is_foreseen(host):
    files = Files(True, lambda path: path, lambda path: False)
    done = foresee(order(host, "gpu0"), files)
    assert [one.action for one in done.files] == ["change", "change"] and host.told == []
    assert host.of("gpu0") == (OLD, "A=1\n") and not os.path.exists(paths.BEFORE)


def test_all_that_was_changed_is_watched_after_the_last_switch(host, monkeypatch):
    """Where an engine ends meanwhile, all of it goes back."""
    watched, problem = [], [""]

    def watch(wanted, names, seconds, accept_unproven):
        watched.append((wanted["ollama_version"], list(names), seconds, accept_unproven))
        return Proof(dict(PASS, verdict="fail" if problem[0] else "pass"), problem[0])

    monkeypatch.setattr(switch, "watch", watch)
    make(order(host, "gpu0"), both(), host.files)
    assert watched == []
    problem[0] = "The engine ended."
    done = make(order(host, "gpu1"), dataclasses.replace(both(), watch_time=9), host.files)
    assert watched == [(NEW, ["gpu0", "gpu1"], 9, False)]
    assert done.failure == "The engine ended." and done.proof.verdict == "fail"
    assert done.back.instances == ["gpu1", "gpu0"] and host.of("gpu0") == host.of("gpu1") == (OLD, "A=1\n")
