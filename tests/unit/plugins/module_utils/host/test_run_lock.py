# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The lock of a host: who holds it alone, who shares it, and what becomes of it."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, is_held, run_lock

from tests.rig.waiting import AT_ONCE, PATIENCE
from tests.unit.plugins.module_utils.host.held_lock import held_a_moment


@pytest.fixture(name="lock")
def _lock(tmp_path):
    return str(tmp_path / "run" / "lock")


@pytest.mark.parametrize("first, second", [(False, False), (False, True), (True, False)])
def test_a_run_holds_it_alone(lock, first, second):
    with run_lock(shared=first, path=lock):
        with pytest.raises(LockHeld, match="a run of the role"):
            with run_lock(shared=second, path=lock):
                pass
    with run_lock(shared=second, path=lock):
        pass


def test_what_loads_shares_it(lock):
    with run_lock(shared=True, path=lock), run_lock(shared=True, path=lock):
        pass


def test_whether_it_is_held_alone(lock):
    assert not is_held(lock)
    with run_lock(path=lock):
        assert is_held(lock)
    with run_lock(shared=True, path=lock):
        assert not is_held(lock)


def test_who_shares_it_may_have_to_come_after_others(lock):
    with run_lock(shared=True, path=lock):
        with pytest.raises(LockHeld), run_lock(shared=True, path=lock, after_others=True):
            pytest.fail("others are at work")
    with run_lock(shared=True, path=lock, after_others=True):
        with run_lock(shared=True, path=lock):
            pass
        with pytest.raises(LockHeld), run_lock(path=lock):
            pytest.fail("it is shared")


@pytest.mark.parametrize("wait", [PATIENCE, None, True])
def test_it_is_waited_for(lock, wait):
    with held_a_moment(lock) as done, run_lock(wait=wait, path=lock):
        assert done.is_set()


def test_the_wait_has_a_limit(lock):
    with run_lock(path=lock):
        began = time.monotonic()
        with pytest.raises(LockHeld):
            with run_lock(wait=0.3, path=lock):
                pass
    assert 0.3 <= time.monotonic() - began < AT_ONCE


def test_a_failure_in_the_block_releases_it(lock):
    with pytest.raises(ValueError):
        with run_lock(path=lock):
            raise ValueError
    with run_lock(wait=False, path=lock):
        pass


def test_a_program_that_is_started_does_not_inherit_it(lock):
    with run_lock(path=lock):
        child = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        # The kernel lets the parent go on just before it closes the child's descriptors (fs/exec.c, begin_new_exec).
        with run_lock(wait=10, path=lock):
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_nobody_else_can_lock_it(lock):
    with run_lock(path=lock):
        assert os.stat(lock).st_mode & 0o777 == 0o600


def test_a_place_of_others_is_refused(lock):
    os.makedirs(os.path.dirname(lock))
    os.chmod(os.path.dirname(lock), 0o777)
    with pytest.raises(OSError, match="this user alone"):
        with run_lock(path=lock):
            pass


def test_a_link_in_its_place_is_refused(lock, tmp_path):
    os.makedirs(os.path.dirname(lock))
    os.symlink(str(tmp_path / "other"), lock)
    with pytest.raises(OSError):
        with run_lock(path=lock):
            pass
    assert not (tmp_path / "other").exists()
