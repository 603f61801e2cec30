# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run a function in a child process: one that may never return, or one that shall not run as root (as_user.py).

A call into a broken driver blocks inside the kernel: a signal handler would run only after the call returns, and a
thread cannot be ended. A forked child can be left behind: the parent kills it and waits for it only for a limited time.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from typing import Any, Callable, Sequence

LOOK = 1.0  # seconds between two looks at a process that does not answer


class DeadlineExceeded(Exception):
    """The child did not answer before the deadline."""


class ChildDied(Exception):
    """The child ended without an answer, for instance by a crash in the driver's library; the text says how."""


class Child:
    """A forked child that runs `function(*arguments, stop)` and sends back its result, which must fit into JSON.

    `stop` is a file descriptor that becomes readable when the parent wants the result (`ask`): a function may measure
    until then.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        result_read, result_write = os.pipe()
        stop_read, stop_write = os.pipe()
        self._stop_write: int | None = stop_write
        self._result: int | None = result_read
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                os.close(result_read)
                os.close(stop_write)
                _detach()
                answer = json.dumps(function(*(arguments + (stop_read,)))).encode()
                while answer:
                    answer = answer[os.write(result_write, answer) :]
                status = 0
            finally:
                # The parent's cleanup must not run here: no atexit, no flushing of buffers that the parent flushes too.
                os._exit(status)
        os.close(result_write)
        os.close(stop_read)

    def ask(self) -> None:
        """Tell the child to send its result now."""
        if self._stop_write is not None:
            os.close(self._stop_write)
            self._stop_write = None

    def result(self, timeout: float | None, meanwhile: Callable[[], None] | None = None) -> Any:
        """Return what the function returned.

        Args:
            timeout: seconds to wait at most; None to wait until the child ends.
            meanwhile: called at each look at a child that has not ended.

        Raises:
            DeadlineExceeded: there was no answer in time.
            ChildDied: the child ended without an answer.
        """
        source = self._result
        if source is None:
            raise ChildDied("it was ended before")
        limit = None if timeout is None else time.monotonic() + timeout
        received = b""
        try:
            while True:
                remaining = None if limit is None else max(limit - time.monotonic(), 0)
                if remaining == 0:
                    raise DeadlineExceeded("no answer within %g seconds" % (timeout or 0))
                if not select.select([source], [], [], LOOK if remaining is None else min(remaining, LOOK))[0]:
                    if is_stopped(self._pid):
                        raise ChildDied("a signal stopped it")
                    if meanwhile is not None:
                        meanwhile()
                    continue
                chunk = os.read(source, 1 << 16)
                if not chunk:
                    break
                received += chunk
        finally:
            status = self.kill()
        if not received:
            raise ChildDied(_describe(status))
        return json.loads(received.decode())

    def kill(self) -> int | None:
        """End the child and return its wait status, None if it cannot be ended because it blocks inside the driver."""
        self.ask()
        if self._result is not None:
            os.close(self._result)
            self._result = None
        status = _reap(self._pid, 0.05)
        if status is None:
            try:
                os.kill(self._pid, signal.SIGKILL)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise
            status = _reap(self._pid, 1.0)
        return status


def run_with_deadline(function: Callable[..., Any], arguments: Sequence[Any], timeout: float) -> Any:
    """Return `function(*arguments)`, run in a child.

    Args:
        function: its result must fit into JSON.
        arguments: of the function.
        timeout: seconds.

    Raises:
        DeadlineExceeded: there was no answer in time.
        ChildDied: the child crashed.
    """
    return Child(_without_stop, function, arguments).result(timeout)


def _without_stop(function: Callable[..., Any], arguments: Sequence[Any], stop: int) -> Any:
    os.close(stop)
    return function(*arguments)


def _detach() -> None:
    """Leave the parent's session and standard streams: Ansible waits for every process that holds its pipe."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a child.

    Whoever runs something else as the user of the child may send it SIGSTOP, and would hold its parent for ever.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _reap(pid: int, seconds: float) -> int | None:
    """Wait for a child for a limited time; return its wait status, None if it has not ended."""
    limit = time.monotonic() + seconds
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except OSError as error:
            if error.errno == errno.ECHILD:
                return 0
            raise
        if done:
            return status
        if time.monotonic() >= limit:
            return None
        time.sleep(0.005)


def _describe(status: int | None) -> str:
    if status is None:
        return "it could not be ended"
    if os.WIFSIGNALED(status):
        return "it was ended by signal %d" % os.WTERMSIG(status)
    return "it ended with exit code %d" % os.WEXITSTATUS(status)
