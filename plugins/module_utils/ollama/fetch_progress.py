# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far models are fetched, in a file that the controller reads while the module runs: a module cannot print."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Callable

from ..common import paths

_SECONDS = 0.5  # between two writes


class ProgressFile:
    """The file that says how far models are fetched. It is a help alone: what keeps it from being written is ignored.

    Its content: `pid` of the module, `finished`, and `models` as {name: {completed, total}} in bytes.
    """

    def __init__(self) -> None:
        self._models: dict[str, dict[str, int]] = {}
        self._written = 0.0
        self._write(False)

    def reporter(self, name: str) -> Callable[[int, int], None]:
        """Return a function that notes how many bytes of a model are there, and how many it has."""

        def report(completed: int, total: int) -> None:
            self._models[name] = {"completed": completed, "total": total}
            if time.monotonic() - self._written > _SECONDS or completed >= total:
                self._write(False)

        return report

    def finish(self) -> None:
        """Say that the module ends."""
        self._write(True)

    def _write(self, finished: bool) -> None:
        self._written = time.monotonic()
        draft = paths.FETCH_PROGRESS + ".new"
        content = {"pid": os.getpid(), "finished": finished, "models": self._models}
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(draft), 0o755, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, 0o644), "w") as stream:
                json.dump(content, stream)
            os.rename(draft, paths.FETCH_PROGRESS)
