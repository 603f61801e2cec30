# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The lock that is held while a plan is measured, and the plan that is in force then."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import in_force
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.in_force import PlanChanged, plan_in_force
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, run_lock

DIGEST = "a" * 64


@pytest.fixture(name="lock")
def _lock(tmp_path, monkeypatch):
    """The lock of a host on which the measured plan is in force; this process may hold it."""
    path = str(tmp_path / "run" / "lock")
    monkeypatch.setattr(in_force, "run_lock", lambda wait, shared: run_lock(wait, shared, path))
    monkeypatch.setattr(in_force.os, "geteuid", lambda: 0)
    monkeypatch.setattr(in_force.history, "digest_in_force", lambda: DIGEST)
    return path


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


def test_the_plan_is_looked_at_under_the_lock(lock, monkeypatch):
    def digest_in_force():
        with pytest.raises(LockHeld), run_lock(path=lock):
            pytest.fail("it can change")
        return "b" * 64

    monkeypatch.setattr(in_force.history, "digest_in_force", digest_in_force)
    with pytest.raises(PlanChanged, match="another one .b{12}. than .* measured .a{12}., .*: run the benchmark again"):
        with plan_in_force(DIGEST, 0, False, []):
            pytest.fail("another plan is measured")


def test_a_host_without_a_plan_has_no_other_one(lock, monkeypatch):
    monkeypatch.setattr(in_force.history, "digest_in_force", lambda: None)
    with plan_in_force(DIGEST, 0, True, []):
        pass


def test_without_root_a_note_says_that_no_lock_is_held(lock, monkeypatch):
    monkeypatch.setattr(in_force.os, "geteuid", lambda: 1000)
    notes = []
    with plan_in_force(DIGEST, 0, True, notes):
        assert not os.path.exists(lock)
    assert notes == ["Without become, a run of the role could change the instances while they were measured."]
