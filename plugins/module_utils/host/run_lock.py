# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The lock of a host: one run changes its instances at a time, and nothing is loaded meanwhile.

A run that changes something holds it alone. What only loads or observes shares it with others of the kind, so that
several instances load at the same time after a reboot. What must not begin beside these (a check would see models that
are still loading, and a benchmark would unload models under a check) waits for their end first (`after_others`). The
kernel releases the lock when its holder ends, however that is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from ..common import paths

_LOOK_SECONDS = 0.2
#: Who may hold the lock of the host.
_HOLDER = "a run of the role changes this host, models are being loaded, the host is checked, or a benchmark measures"


class LockHeld(Exception):
    """Another process holds the lock. The text is a sentence about it."""


@contextlib.contextmanager
def run_lock(
    wait: float | None = 0,
    shared: bool = False,
    path: str = paths.LOCK,
    holder: str = _HOLDER,
    after_others: bool = False,
) -> Iterator[None]:
    """Hold the lock of this host until the block ends.

    Args:
        wait: seconds to wait for those that hold it; 0 or False not to wait, None (or True) to wait without a limit.
        shared: hold it with others that share it. Without it, it is held alone.
        path: of the lock. Its directory is made where it is missing: /run is empty after a reboot.
        holder: who may hold it, for the text of LockHeld.
        after_others: take it only where nobody has it, also to share it from then on.

    Raises:
        LockHeld: others hold it, for longer than `wait`.
        OSError: the lock cannot be made, or lies where another user could exchange it.
    """
    descriptor = _opened(path)
    limit = None if wait is True else wait
    try:
        alone_first = not shared or after_others
        is_held = _is_acquired(descriptor, fcntl.LOCK_EX if alone_first else fcntl.LOCK_SH, limit)
        if is_held and shared and after_others:
            # The kernel gives it back for a moment (flock(2)), in which another process can take it.
            is_held = _is_acquired(descriptor, fcntl.LOCK_SH, limit)
        if not is_held:
            waited = " for more than %g seconds" % limit if limit else ""
            raise LockHeld("Another process holds %s%s: %s." % (path, waited, holder))
        yield
    finally:
        os.close(descriptor)


def is_held(path: str = paths.LOCK) -> bool:
    """Return whether a process holds a lock alone. Those that share it do not count.

    Raises:
        OSError: see `run_lock`.
    """
    try:
        with run_lock(shared=True, path=path):
            return False
    except LockHeld:
        return True


def _is_acquired(descriptor: int, kind: int, wait: float | None) -> bool:
    """Take the lock, and return whether it was free before `wait` seconds were over."""
    limit = None if wait is None else time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if limit is not None and time.monotonic() >= limit:
                return False
        time.sleep(_LOOK_SECONDS)


def _opened(path: str) -> int:
    """Open the lock. Its mode lets nobody else open it: whoever can read a file can lock it, and keep it locked."""
    directory = os.path.dirname(path)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o755)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(errno.EPERM, "it is not a directory that this user alone can change", directory)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
