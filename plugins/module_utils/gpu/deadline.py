# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run a function that may never return in a child process, and give up on it after a while.

A driver in trouble blocks inside the kernel: a signal handler runs only after the call returns, and a thread cannot be
ended. A forked child can be left behind: the parent kills it and never waits for it without a bound.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time


class DeadlineExceeded(Exception):
    """The child gave no answer in time."""


class ChildDied(Exception):
    """The child ended without an answer (a crash in the driver's library, for instance); the text says how."""


class Child:
    """A forked child that runs `function(*arguments, stop)` and sends its result, anything that JSON can hold, back.

    `stop` is a file descriptor that becomes readable when the parent asks for the result (`ask`), so that a function
    may go on measuring until then.
    """

    def __init__(self, function, *arguments):
        result_read, result_write = os.pipe()
        stop_read, self._stop_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                os.close(result_read)
                os.close(self._stop_write)
                _detach()
                answer = json.dumps(function(*(arguments + (stop_read,)))).encode()
                while answer:
                    answer = answer[os.write(result_write, answer) :]
                status = 0
            finally:
                # Never into the parent's cleanup code: no atexit, no flushing of buffers that the parent flushes too.
                os._exit(status)
        os.close(result_write)
        os.close(stop_read)
        self._result = result_read

    def ask(self):
        """Tell the child that its result is wanted now."""
        if self._stop_write is not None:
            os.close(self._stop_write)
            self._stop_write = None

    def result(self, timeout):
        """Return what the function returned, waiting `timeout` seconds at most. Raises DeadlineExceeded, ChildDied."""
        limit = time.monotonic() + timeout
        received = b""
        try:
            while True:
                remaining = limit - time.monotonic()
                if remaining <= 0 or not select.select([self._result], [], [], remaining)[0]:
                    raise DeadlineExceeded("no answer within %g seconds" % timeout)
                chunk = os.read(self._result, 1 << 16)
                if not chunk:
                    break
                received += chunk
        finally:
            status = self.kill()
        if not received:
            raise ChildDied(_describe(status))
        return json.loads(received.decode())

    def kill(self):
        """End the child and return its wait status, None where it cannot be ended (it sleeps inside the driver)."""
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


def run_with_deadline(function, arguments, timeout):
    """Return `function(*arguments)` run in a child, or raise DeadlineExceeded after `timeout` seconds, ChildDied if it crashed."""
    return Child(_without_stop, function, arguments).result(timeout)


def _without_stop(function, arguments, stop):
    os.close(stop)
    return function(*arguments)


def _detach():
    """Leave the parent's session and its standard streams: Ansible waits until every holder of its pipe is gone."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _reap(pid, seconds):
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


def _describe(status):
    if status is None:
        return "it could not be ended"
    if os.WIFSIGNALED(status):
        return "it was ended by signal %d" % os.WTERMSIG(status)
    return "it ended with exit code %d" % os.WEXITSTATUS(status)
