# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A child with a deadline: answers, hangs, crashes."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.child import (
    Child,
    ChildDied,
    DeadlineExceeded,
    run_with_deadline,
)


def test_the_answer_comes_back_whatever_its_size():
    assert run_with_deadline(lambda size: {"text": "x" * size}, (300000,), 30) == {"text": "x" * 300000}


def test_a_call_that_never_returns_is_given_up():
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        run_with_deadline(lambda: time.sleep(60), (), 0.1)
    assert time.monotonic() - began < 30


def test_nothing_is_left_of_a_call_that_was_given_up():
    child = Child(lambda stop: time.sleep(60))
    with pytest.raises(DeadlineExceeded):
        child.result(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(child._pid, 0)


def test_a_signal_that_the_call_ignores_does_not_keep_it():
    def stubborn(stop):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(60)

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        Child(stubborn).result(0.1)
    assert time.monotonic() - began < 30


def test_a_crash_is_told_from_a_hang():
    with pytest.raises(ChildDied, match="signal 9"):
        run_with_deadline(lambda: os.kill(os.getpid(), signal.SIGKILL), (), 30)
    with pytest.raises(ChildDied, match="exit code 1"):
        run_with_deadline(lambda: 1 / 0, (), 30)


def test_a_child_that_a_signal_stops_does_not_hold_its_parent():
    began = time.monotonic()
    with pytest.raises(ChildDied, match="a signal stopped it"):
        Child(lambda stop: os.kill(os.getpid(), signal.SIGSTOP)).result(30)
    assert time.monotonic() - began < 20


def test_the_child_holds_no_stream_of_its_parent():
    """Ansible waits for every holder of its pipes, also for a child that hangs in the driver."""
    read, write = os.pipe()
    saved = os.dup(1)
    os.dup2(write, 1)
    os.close(write)
    child = Child(lambda stop: time.sleep(60))
    os.dup2(saved, 1)
    try:
        # Only the child could still hold the writing end; it lets go of it before it starts.
        assert select.select([read], [], [], 30)[0] and os.read(read, 1) == b""
    finally:
        child.kill()


def test_the_parent_can_do_something_meanwhile():
    read, write = os.pipe()
    # The child ends once the parent has done it.
    assert Child(lambda stop: len(os.read(read, 1))).result(60, lambda: os.write(write, b"x")) == 1
    os.close(read)
    os.close(write)


def test_a_child_can_measure_until_it_is_asked():
    read, write = os.pipe()
    os.set_inheritable(write, True)

    def measure(stop):
        rounds = 0
        while not select.select([stop], [], [], 0.01)[0]:
            rounds += 1
            os.write(write, b"x")
        return rounds

    child = Child(measure)
    assert os.read(read, 1) + os.read(read, 1) == b"xx"
    child.ask()
    assert child.result(30) > 1


def test_the_parents_streams_are_as_before(capfd):
    run_with_deadline(lambda: os.write(1, b"from the child"), (), 30)
    print("from the parent")
    sys.stdout.flush()
    assert capfd.readouterr().out == "from the parent\n"
