# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A check writes its verdict, and neither loads nor generates."""

from __future__ import annotations

import json
import os
import time
import types

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import run_lock as lock_module
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import checking, observing
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.checking import check

from tests.rig.waiting import PATIENCE
from tests.unit.plugins.module_utils.evidence.builders import A, B, observations, plan
from tests.unit.plugins.module_utils.host.held_lock import held_a_moment
from tests.unit.plugins.module_utils.program.host import Host

GIB = 1024**3


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def kept(host):
    with open(host.places.verdict, encoding="utf-8") as stream:
        return json.load(stream)


def test_the_verdict_is_kept_for_everybody_to_read(host):
    check(host.places)
    assert os.stat(host.places.verdict).st_mode & 0o777 == 0o644
    assert kept(host)["verdict"] == "pass" and kept(host)["instances"][0]["verdict"] == "pass"
    assert kept(host)["ollama_version"] == "0.32.15" and kept(host)["time"].endswith("Z")
    assert host.collected == [{"load": False, "generate": False, "timeout": 30.0, "nvml_timeout": 30.0}]


def test_the_next_check_replaces_it(host):
    check(host.places)
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    assert check(host.places).code == 1 and kept(host)["verdict"] == "fail"
    assert os.listdir(os.path.dirname(host.places.verdict)) == ["verdict.json"]


def test_it_waits_for_loads_and_other_checks(host, monkeypatch):
    """Those that follow the start of an instance, for one: a check of a person at that moment is not in vain."""
    monkeypatch.setattr(checking, "OTHERS_SECONDS", PATIENCE)
    with held_a_moment(host.places.lock, shared=True) as done:
        answer = check(host.places)
        assert done.is_set() and answer.data["checked"] is True


def test_loads_that_take_longer_are_left_alone(host, monkeypatch):
    monkeypatch.setattr(checking, "OTHERS_SECONDS", 0.3)
    check(host.places)
    before = kept(host)
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    with run_lock(shared=True, path=host.places.lock):
        answer = check(host.places)
    assert answer.code == 0 and answer.data["checked"] is False and kept(host) == before


def test_a_run_or_a_benchmark_is_not_waited_for(host, monkeypatch):
    waits = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: pytest.fail("it waits"))
    monkeypatch.setattr(lock_module, "time", waits)
    with run_lock(path=host.places.lock):
        answer = check(host.places)
    assert answer.code == 0 and answer.data["checked"] is False


@pytest.mark.parametrize("seconds, is_checked", [(0, False), (3500, False), (3700, True), (-3700, True)])
def test_a_run_between_two_switches_is_left_alone(host, seconds, is_checked):
    """It holds no lock then. One that was killed long ago is told."""
    check(host.places)
    before = kept(host)
    changed = plan()
    changed["instances"][0]["models"][0]["context_length"] = 4096
    host.write_instance(changed)
    host.age("gpu0-1", seconds)
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    answer = check(host.places)
    assert answer.data["checked"] is is_checked and answer.code == int(is_checked)
    assert (kept(host) == before) is not is_checked
    assert is_checked or "has begun to change gpu0-1 within the last hour" in answer.lines[0].text


def test_an_instance_of_the_plan_in_force_is_checked(host):
    host.write_instance(plan())
    assert check(host.places).data["checked"] is True


def test_a_plan_without_instances_is_checked(host):
    host.places.plan_file.write_text(json.dumps(dict(plan(), instances=[])), encoding="utf-8")
    assert check(host.places).data["checked"] is True


def test_a_load_can_begin_while_it_observes(host, monkeypatch):
    def load(*_arguments, **_options):
        with run_lock(shared=True, path=host.places.lock):
            return host.seen

    monkeypatch.setattr(observing, "collect", load)
    assert check(host.places).data["checked"] is True
