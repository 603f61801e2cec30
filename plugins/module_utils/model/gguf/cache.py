# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Cache of the facts of headers by their registry and the digests of their blobs.

Hosts that delegate to the controller at the same time read a header only once. A digest stands for its content, so an
entry stays valid for the registry that served it; another one reads its own. FORMAT changes when facts or key change.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from typing import Any, Callable

from ...common.regular import read_regular

FORMAT = 5
_POLL = 0.05  # seconds between two looks at a lock


class CacheError(Exception):
    """The cache directory cannot be used. The text is one sentence."""


class Cache:
    """Cache in a directory, which is created with mode 0700; None caches nothing."""

    def __init__(self, directory: str | None = None) -> None:
        self.directory = directory

    def fetch(self, key: list[str], compute: Callable[[], dict[str, Any]], patience: float = 60.0) -> dict[str, Any]:
        """Return the facts that are kept for `key`, or else those of `compute()`.

        Args:
            key: the address of the registry, then media type, digest and size of each blob.
            compute: returns the facts. Only one process computes those of the same key at a time.
            patience: seconds to wait for another process that computes them.

        Raises:
            CacheError: another process took too long, or the directory cannot be used. `compute` may raise others.
        """
        if not self.directory:
            return compute()
        name = hashlib.sha256(json.dumps([FORMAT, key]).encode("ascii")).hexdigest()
        path = os.path.join(self.directory, name + ".json")
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            lock = os.fdopen(os.open(os.path.join(self.directory, name + ".lock"), flags, 0o600), "rb")
        except OSError as error:
            raise CacheError(
                "cannot use the cache directory %s: %s; set cache_dir to a directory that you may write"
                % (self.directory, error.strerror or error)
            )
        with lock:
            self._wait(lock, patience)
            facts = _load(path, key)
            if facts is None:
                facts = compute()
                self._keep(path, key, facts)
            return facts

    def _wait(self, lock: Any, patience: float) -> None:
        """Take the lock. The kernel releases it when its holder dies. Raises CacheError after `patience` seconds."""
        ends = time.monotonic() + patience
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= ends:
                    raise CacheError(
                        "another process has been reading the same header for %d seconds (lock in %s); "
                        "check the network, and run again" % (patience, self.directory)
                    )
                time.sleep(_POLL)

    def _keep(self, path: str, key: list[str], facts: dict[str, Any]) -> None:
        try:
            handle, temporary = tempfile.mkstemp(dir=self.directory)
            with os.fdopen(handle, "w") as stream:
                json.dump({"format": FORMAT, "key": key, "facts": facts}, stream)
            os.replace(temporary, path)
        except OSError as error:
            raise CacheError("cannot write to the cache directory %s: %s" % (self.directory, error.strerror or error))


def _load(path: str, key: list[str]) -> dict[str, Any] | None:
    """Return the facts of an entry, None without a valid one (its writer was killed, or it has another format)."""
    try:
        entry = json.loads(read_regular(path, follow=False).decode("utf-8"))
    except (OSError, ValueError):
        return None
    if (
        isinstance(entry, dict)
        and entry.get("format") == FORMAT
        and entry.get("key") == key
        and isinstance(entry.get("facts"), dict)
    ):
        return entry["facts"]
    return None
