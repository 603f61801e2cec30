# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A file with the progress of a running module. The controller reads it, because a module cannot print."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import time
from typing import Dict

_SECONDS = 0.5  # at least between two writes
_ENTER = 0o055  # for group and others: files in the directory with secrets have modes of their own


class ProgressFile:
    """A file with the progress of models. It is only informative, so errors while it is written are ignored.

    Its content: `pid` of the module, `finished`, and `models` as {name: entry} with the last progress. Every user may
    read it, whatever the umask. Several threads may write it.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._models: Dict[str, Dict[str, int]] = {}
        self._written = 0.0
        self._lock = threading.Lock()
        self._write(False)

    def note(self, name: str, entry: Dict[str, int], at_once: bool = False) -> None:
        """Write the progress of a model.

        Args:
            name: of the model.
            entry: numbers by their names.
            at_once: whether it is written although something was written a moment ago.
        """
        with self._lock:
            self._models[name] = entry
            if at_once or time.monotonic() - self._written > _SECONDS:
                self._write(False)

    def finish(self) -> None:
        """Write that the module, or the work that it reports on, has ended."""
        with self._lock:
            self._write(True)

    def _write(self, finished: bool) -> None:
        self._written = time.monotonic()
        draft = self._path + ".new"
        content = {"pid": os.getpid(), "finished": finished, "models": self._models}
        with contextlib.suppress(OSError):
            _open_directory(os.path.dirname(draft))
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, 0o644), "w") as stream:
                os.fchmod(stream.fileno(), 0o644)  # the umask has no say
                json.dump(content, stream)
            os.rename(draft, self._path)


def _open_directory(path: str) -> None:
    """Make a directory that everybody may enter and nobody else may write to; one that is there may be another's."""
    os.makedirs(path, 0o755, exist_ok=True)
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & _ENTER != _ENTER:
        os.chmod(path, mode | _ENTER)
