# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is done as another user than root: who does it, what it may do, and how its result comes back."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import as_user
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.child import DeadlineExceeded

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class Told(Exception):
    """An exception that callers expect."""


class ToldMore(Told):
    """A special case of it."""


def _identity():
    with open("/proc/self/status", encoding="utf-8") as stream:
        status = dict(line.strip().split(":\t", 1) for line in stream if ":\t" in line)
    return {
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
        "no_new_privileges": status["NoNewPrivs"],
        "umask": os.umask(0),
        "directory": os.getcwd(),
    }


@as_root
def test_a_child_has_nothing_of_roots_left():
    nobody = as_user.account(as_user.NOBODY)
    identity = as_user.call_as(nobody, _identity)
    assert identity["uids"] == [nobody.uid] * 3 and identity["gids"] == [nobody.gid] * 3
    assert identity["groups"] == list(nobody.groups) and 0 not in identity["groups"]
    assert {int(capabilities, 16) for capabilities in identity["capabilities"]} == {0}
    assert identity["no_new_privileges"] == "1"
    assert identity["umask"] == 0o027 and identity["directory"] == "/"
    assert os.geteuid() == 0


@as_root
def test_a_child_cannot_become_root_again():
    def climb():
        try:
            os.setresuid(0, 0, 0)
        except PermissionError:
            return "refused"
        return "root"

    assert as_user.call_as(as_user.account(as_user.NOBODY), climb) == "refused"


@as_root
def test_a_child_cannot_be_traced_by_its_user():
    def owner_of_its_files_in_proc():
        return os.stat("/proc/self/mem").st_uid

    assert as_user.call_as(as_user.account(as_user.NOBODY), owner_of_its_files_in_proc) == 0


@as_root
def test_a_child_cannot_write_where_only_root_may(tmp_path):
    tmp_path.chmod(0o755)

    def write():
        (tmp_path / "file").write_text("")

    with pytest.raises(PermissionError):
        as_user.call_as(as_user.account(as_user.NOBODY), write, expected=(PermissionError,))
    assert not list(tmp_path.iterdir())


def _raise(error):
    raise error


@as_root
def test_expected_exceptions_come_back_with_their_text():
    user = as_user.account(as_user.NOBODY)
    with pytest.raises(ToldMore, match="the text"):
        as_user.call_as(user, _raise, ToldMore("the text"), expected=(ToldMore, Told))
    with pytest.raises(Told, match="the text"):
        as_user.call_as(user, _raise, ToldMore("the text"), expected=(Told,))


@as_root
def test_other_exceptions_are_one_sentence():
    with pytest.raises(as_user.UserError, match="as the user nobody: ZeroDivisionError: division by zero"):
        as_user.call_as(as_user.account(as_user.NOBODY), lambda: 1 / 0)


@as_root
def test_a_child_that_dies_or_hangs_is_said():
    user = as_user.account(as_user.NOBODY)
    with pytest.raises(as_user.UserError, match="signal 9"):
        as_user.call_as(user, lambda: os.kill(os.getpid(), 9))
    with pytest.raises(DeadlineExceeded):
        as_user.call_as(user, time.sleep, 60, timeout=0.1)


def test_without_roots_rights_it_runs_here(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    here = []
    assert as_user.call_as(as_user.Account("somebody", 1, 1), here.append, 1) is None
    assert here == [1]


def test_root_is_no_user_to_work_as():
    with pytest.raises(as_user.UserError, match="root is root"):
        as_user.account("root")


def test_a_user_that_is_missing_is_said():
    with pytest.raises(as_user.UserError, match="does not have the user no-such-user"):
        as_user.account("no-such-user")


def test_a_host_without_the_service_user_has_nobody(monkeypatch):
    monkeypatch.setattr(as_user.paths, "USER", "no-such-user")
    assert as_user.service_account().name == "nobody"
