# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Cache of the facts of headers by the digests of their blobs.

Hosts that delegate to the controller at the same time read a header only once. A digest stands for its content, so an
entry is always valid; FORMAT changes when the facts change.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from typing import Any, Callable

FORMAT = 4


class CacheError(Exception):
    """The cache directory cannot be used. The text is one sentence."""


class Cache:
    """Cache in a directory, which is created with mode 0700; None caches nothing."""

    def __init__(self, directory: str | None = None) -> None:
        self.directory = directory

    def fetch(self, digests: list[str], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the facts that are kept for `digests`, or else those of `compute()`.

        Args:
            digests: of the blobs.
            compute: returns the facts. Only one process computes those of the same digests at a time.

        Raises:
            CacheError: the directory cannot be used; `compute` may raise other exceptions.
        """
        if not self.directory:
            return compute()
        name = hashlib.sha256(json.dumps([FORMAT, digests]).encode("ascii")).hexdigest()
        path = os.path.join(self.directory, name + ".json")
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            lock = open(os.path.join(self.directory, name + ".lock"), "a")
        except OSError as error:
            raise CacheError(
                "cannot use the cache directory %s: %s; set cache_dir to a directory that you may write"
                % (self.directory, error.strerror or error)
            )
        with lock:
            # The kernel releases the lock when its holder dies, and the holder's own timeouts limit the wait.
            fcntl.flock(lock, fcntl.LOCK_EX)
            facts = _load(path, digests)
            if facts is None:
                facts = compute()
                self._keep(path, digests, facts)
            return facts

    def _keep(self, path: str, digests: list[str], facts: dict[str, Any]) -> None:
        try:
            handle, temporary = tempfile.mkstemp(dir=self.directory)
            with os.fdopen(handle, "w") as stream:
                json.dump({"format": FORMAT, "digests": digests, "facts": facts}, stream)
            os.replace(temporary, path)
        except OSError as error:
            raise CacheError("cannot write to the cache directory %s: %s" % (self.directory, error.strerror or error))


def _load(path: str, digests: list[str]) -> dict[str, Any] | None:
    """Return the facts of an entry, None without a valid one (its writer was killed, or it has another format)."""
    try:
        with open(path) as stream:
            entry = json.load(stream)
    except (OSError, ValueError):
        return None
    if (
        isinstance(entry, dict)
        and entry.get("format") == FORMAT
        and entry.get("digests") == digests
        and isinstance(entry.get("facts"), dict)
    ):
        return entry["facts"]
    return None
