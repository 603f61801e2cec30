# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Do something on a host as another user than root, in a child process that gives its privileges up for good.

Whoever owns a directory can put links, FIFOs and files of any name into it while root works there. What happens in a
place that others own is therefore done as they would do it themselves. Ansible cannot do that: becoming one
unprivileged user from another does not work on every host.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ..common import paths
from .child import Child, ChildDied

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
#: User who does what needs no rights at all, on a host that does not have the service user yet.
NOBODY = "nobody"


class UserError(Exception):
    """There is no such user, or the privileges cannot be given up. The text is one sentence with a remedy."""


@dataclass(frozen=True)
class Account:
    """Numbers of a user: its own, those of its primary group and of all its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def account(user: str) -> Account:
    """Return the numbers of a user.

    Raises:
        UserError: The host does not have the user, or it is root.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UserError("the host does not have the user %s: run the role's stage configure first" % user)
    if entry.pw_uid == 0:
        raise UserError("%s is root, and this shall be done without root's rights: use a user of its own" % user)
    return Account(user, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(user, entry.pw_gid)))


def service_account() -> Account:
    """Return the service user, or `nobody` on a host that does not have it yet.

    Raises:
        UserError: The host has neither.
    """
    try:
        return account(paths.USER)
    except UserError:
        return account(NOBODY)


def call_as(
    user: Account,
    function: Callable[..., Any],
    *arguments: Any,
    expected: Sequence[type[Exception]] = (),
    timeout: Optional[float] = None,
    meanwhile: Optional[Callable[[], None]] = None,
) -> Any:
    """Return `function(*arguments)`, run as `user`; in this process where that is the user already, or not root.

    In the child there is no other way back than the result: nothing that it prints is seen, and what it changes in
    memory is lost. It sees the open file descriptors of this process. What it imports has to be imported before,
    because the user cannot read Ansible's temporary directory.

    Args:
        user: see `account`.
        function: its result must fit into JSON. Never a pickle: the child may be under the control of its user.
        arguments: of the function.
        expected: exceptions of the function that are raised here again, with the same text.
        timeout: seconds; None for as long as it takes.
        meanwhile: called about once a second while the child works.

    Raises:
        UserError: The privileges cannot be given up, or the child ended without an answer.
        DeadlineExceeded: There was no answer in time.
    """
    if os.geteuid() != 0:
        return function(*arguments)
    child = Child(_answer, user, function, arguments, tuple(expected))
    try:
        answer = child.result(timeout, meanwhile)
    except ChildDied as died:
        raise UserError("what was begun as the user %s did not end (%s): run again" % (user.name, died))
    if "result" in answer:
        return answer["result"]
    if answer["error"] is None:
        raise UserError("as the user %s: %s" % (user.name, answer["message"]))
    raise expected[answer["error"]](answer["message"])


def give_up_privileges(user: Account) -> None:
    """Become `user` for good, in a child process. Its files get no rights for others than its group.

    Raises:
        OSError: The system refuses.
    """
    os.setgroups(list(user.groups))
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    if os.getresuid() != (user.uid,) * 3 or os.getresgid() != (user.gid,) * 3:
        raise OSError("the process is still another user than %s" % user.name)
    lock_in()
    os.umask(0o027)
    os.chdir("/")


def lock_in() -> None:
    """Have the kernel keep this process, a child, and what it starts from gaining privileges, and kill it when its
    parent ends, however that ends.

    Raises:
        OSError: The system refuses.
    """
    process = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_DUMPABLE, 0),  # its other processes cannot trace this one, which has read what only root may read
        (_PR_SET_PDEATHSIG, signal.SIGKILL),  # after the user: a change of it clears this
    ):
        if process.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl %d: %s" % (option, os.strerror(ctypes.get_errno())))


def _answer(
    user: Account,
    function: Callable[..., Any],
    arguments: Sequence[Any],
    expected: tuple[type[Exception], ...],
    stop: int,
) -> dict[str, Any]:
    """In the child: give the privileges up, call the function and return its result or its exception as JSON."""
    os.close(stop)
    try:
        give_up_privileges(user)
        return {"result": function(*arguments)}
    except expected as error:
        number = next(number for number, kind in enumerate(expected) if isinstance(error, kind))
        return {"error": number, "message": str(error)}
    except Exception as error:  # pylint: disable=broad-except  # the child has no other way to say it
        return {"error": None, "message": "%s: %s" % (type(error).__name__, error)}
