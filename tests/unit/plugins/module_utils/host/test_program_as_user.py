# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Programs that are run as another user: their rights, their environment, and their limits."""

from __future__ import annotations

import os
import signal
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import program_as_user
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.as_user import NOBODY, Account, account
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.program_as_user import ProgramError, ask_as

from tests.rig.waiting import wait_until

#: How long the programs of this test run sleep: a number that no other has.
SECONDS = "1%d.%d" % (os.getpid(), time.time())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def ask(text, **options):
    return ask_as(account(NOBODY), ["/bin/sh", "-c", text], **options)


@as_root
def test_a_program_has_nothing_of_roots(monkeypatch):
    monkeypatch.setenv("MARKED_SECRET", "1")
    text = ask("id -u; id -g; id -G; pwd; umask; cat /proc/self/status; env; cat /etc/shadow")
    nobody = account(NOBODY)
    assert text.split("\n")[:5] == [str(nobody.uid), str(nobody.gid), " ".join(map(str, nobody.groups)), "/", "0027"]
    assert "NoNewPrivs:\t1" in text and "CapEff:\t%016x" % 0 in text and "CapPrm:\t%016x" % 0 in text
    assert "MARKED_SECRET" not in text and "Permission denied" in text


def test_without_roots_rights_it_still_cannot_gain_privileges(monkeypatch):
    monkeypatch.setattr(program_as_user.os, "geteuid", lambda: 1000)
    text = ask_as(Account("somebody", 1, 1), ["/bin/sh", "-c", "cat /proc/self/status"])
    assert "NoNewPrivs:\t1" in text and "Uid:\t%d\t" % os.getuid() in text


def test_its_time_is_limited():
    begin = time.monotonic()
    with pytest.raises(ProgramError, match="did not end within 0.5 seconds"):
        ask("sleep %s & sleep %s" % (SECONDS, SECONDS), timeout=0.5)
    assert time.monotonic() - begin < 60
    wait_until(lambda: not _sleeping(), "its children are ended with it")


def _sleeping():
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and SECONDS.encode() in _command(pid)]


def _command(pid):
    try:
        with open("/proc/%s/cmdline" % pid, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def test_its_output_is_limited():
    with pytest.raises(ProgramError, match="printed more than 64 KiB"):
        ask("yes")


def test_a_program_that_cannot_be_started_is_said():
    with pytest.raises(ProgramError, match="cannot be started as the user nobody: No such file"):
        ask_as(account(NOBODY), ["/no/such/program"])


@as_root
def test_privileges_that_cannot_be_given_up_end_it():
    with pytest.raises(ProgramError, match="cannot be started as the user odd"):
        ask_as(Account("odd", -5, -5), ["/bin/true"])


def test_it_dies_with_its_parent():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        process = program_as_user.start_as(account(NOBODY), ["/bin/sleep", "4321"])
        os.write(write, b"%d\n" % process.pid)
        signal.pause()
    pid = int(os.read(read, 100))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: _command(str(pid)) == b"", "it has ended")
