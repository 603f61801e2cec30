# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The lock that is held while a plan is measured, and the plan that is in force then."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import in_force
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.in_force import PlanChanged, plan_in_force
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.history import digest_of
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, run_lock

PLAN = {"ollama_version": "0.32.15", "instances": [{"name": "gpu0"}]}
DIGEST = digest_of(PLAN)


@pytest.fixture(name="lock")
def _lock(tmp_path, monkeypatch):
    """The lock of a host on which the measured plan is in force; this process may hold it."""
    path = str(tmp_path / "run" / "lock")
    monkeypatch.setattr(in_force, "run_lock", lambda **options: run_lock(path=path, **options))
    monkeypatch.setattr(in_force.os, "geteuid", lambda: 0)
    monkeypatch.setattr(in_force.paths, "PLAN", str(tmp_path / "plan.json"))
    write(json_text(PLAN))
    return path


def write(text):
    with open(in_force.paths.PLAN, "w", encoding="utf-8") as stream:
        stream.write(text)


@pytest.mark.parametrize("shared", [False, True])
def test_no_run_changes_the_instances_meanwhile(lock, shared):
    notes = []
    with plan_in_force(DIGEST, 0, shared, notes):
        with pytest.raises(LockHeld), run_lock(path=lock):
            pytest.fail("a run of the role goes on")
        if shared:
            with run_lock(shared=True, path=lock):
                pass
    with run_lock(path=lock), pytest.raises(LockHeld), plan_in_force(DIGEST, 0, shared, notes):
        pytest.fail("it is measured while a run works")
    assert notes == []


@pytest.mark.parametrize("shared", [False, True])
def test_it_does_not_begin_in_the_middle_of_a_check_or_a_load(lock, shared):
    with run_lock(shared=True, path=lock), pytest.raises(LockHeld), plan_in_force(DIGEST, 0, shared, []):
        pytest.fail("models would be unloaded under a check")


def test_the_plan_is_looked_at_under_the_lock(lock, monkeypatch):
    def read_object(path):
        with pytest.raises(LockHeld), run_lock(path=lock):
            pytest.fail("it can change")
        return {"instances": []}

    monkeypatch.setattr(in_force, "read_object", read_object)
    told = "another one .%.12s. than .* measured .%.12s., .*: run the benchmark again"
    with pytest.raises(PlanChanged, match=told % (digest_of({"instances": []}), DIGEST)):
        with plan_in_force(DIGEST, 0, False, []):
            pytest.fail("another plan is measured")


def test_how_the_file_of_the_plan_is_formatted_says_nothing(lock):
    write(json.dumps(dict(reversed(PLAN.items())), indent=1))
    with plan_in_force(DIGEST, 0, True, []):
        pass


def test_a_plan_that_cannot_be_read_may_be_another_one(lock):
    write(json_text(PLAN)[:-9])
    with pytest.raises(PlanChanged, match="plan.json is no plan, or cannot be read: run the playbook"):
        with plan_in_force(DIGEST, 0, True, []):
            pytest.fail("another plan is measured")


def test_a_host_without_a_plan_has_no_other_one(lock):
    os.unlink(in_force.paths.PLAN)
    with plan_in_force(DIGEST, 0, True, []):
        pass


def test_without_root_a_note_says_that_no_lock_is_held(lock, monkeypatch):
    monkeypatch.setattr(in_force.os, "geteuid", lambda: 1000)
    notes = []
    with plan_in_force(DIGEST, 0, True, notes):
        assert not os.path.exists(lock)
    assert notes == ["Without become, a run of the role could change the instances while they were measured."]
