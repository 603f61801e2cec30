# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run a program on a host as another user than root, with none of this process's environment and rights."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

from .as_user import Account, give_up_privileges, lock_in
from .command import PROGRAM_PATH

#: Environment of a program that needs nothing. Ollama does not start without a HOME.
PLAIN: Mapping[str, str] = MappingProxyType({"PATH": PROGRAM_PATH, "LC_ALL": "C", "HOME": "/nonexistent"})
_KILL_SECONDS = 10


class ProgramError(Exception):
    """A program gave no answer. The text is a phrase ("printed more than 64 KiB")."""


def start_as(
    user: Account,
    command: Sequence[str],
    environment: Mapping[str, str] = PLAIN,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program as `user` (as the user of this process where that is not root); its output is a pipe.

    It has a session of its own, cannot gain privileges, and dies with this process.

    Raises:
        OSError: It cannot be started.
        subprocess.SubprocessError: The privileges cannot be given up.
    """
    # run_command knows neither another user nor a time limit
    return subprocess.Popen(  # pylint: disable=ansible-bad-function,subprocess-popen-preexec-fn
        list(command),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=dict(environment),
        cwd="/",
        start_new_session=True,
        preexec_fn=lambda: give_up_privileges(user) if os.geteuid() == 0 else lock_in(),
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        pass  # it hangs in the kernel, for instance in a driver; it dies when that returns


def ask_as(user: Account, command: Sequence[str], timeout: float = 60.0, limit: int = 64 * 1024) -> str:
    """Return what a program prints on both outputs, whatever its exit status.

    Args:
        user: who runs it.
        command: the program and its arguments.
        timeout: seconds for all of it.
        limit: bytes of output.

    Raises:
        ProgramError: It cannot be started, does not end in time, or prints too much.
    """
    try:
        process = start_as(user, command, stderr=subprocess.STDOUT)
    except (OSError, subprocess.SubprocessError) as error:
        raise ProgramError("cannot be started as the user %s: %s" % (user.name, getattr(error, "strerror", error)))
    try:
        return _output(process.stdout, time.monotonic() + timeout, timeout, limit).decode("utf-8", "replace")
    finally:
        kill(process)


def _output(output: Any, deadline: float, timeout: float, limit: int) -> bytes:
    received = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([output], [], [], left)[0]:
            raise ProgramError("did not end within %g seconds" % timeout)
        part = os.read(output.fileno(), 65536)
        if not part:
            return received
        received += part
        if len(received) > limit:
            raise ProgramError("printed more than %d KiB" % (limit // 1024))
