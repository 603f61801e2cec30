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
import stat
import tempfile
import time
from typing import Any, Callable

from ...common.regular import read_regular

FORMAT = 7
PATIENCE = 20.0  # seconds; the largest header takes a few
_POLL = 0.05  # seconds between two looks at a mark


class CacheError(Exception):
    """The cache directory cannot be used. The text is one sentence."""


class Cache:
    """Cache in a directory, which is created with mode 0700; None caches nothing.

    Entries are replaced as a whole, so no lock is needed to read or write them. While a process reads a header it holds
    a mark (a locked file beside the entry), so that the others wait for its answer for a while instead of asking too.
    """

    def __init__(self, directory: str | None = None) -> None:
        self.directory = directory

    def fetch(
        self, key: list[str], compute: Callable[[], dict[str, Any]], patience: float = PATIENCE, refresh: bool = False
    ) -> dict[str, Any]:
        """Return the facts that are kept for `key`, or else those of `compute()`.

        Args:
            key: the address of the registry, then media type, digest and size of each blob.
            compute: returns the facts.
            patience: seconds to wait for another process that computes them, before this one does it too.
            refresh: compute them although there are some, and replace those.

        Raises:
            CacheError: the directory cannot be used. `compute` may raise others.
        """
        if not self.directory:
            return compute()
        name = hashlib.sha256(json.dumps([FORMAT, key]).encode("ascii")).hexdigest()
        path = os.path.join(self.directory, name + ".json")
        self._prepare()
        before = _load(path, key)
        if before is not None and not refresh:
            return before
        with self._mark(name) as mark:
            # Also with `refresh`, what another process has read in the meantime is new.
            facts = self._of_another(mark, path, key, before, patience)
            if facts is None:
                facts = compute()
                self._keep(path, key, facts)
            return facts

    def _prepare(self) -> None:
        """Create the directory. Refuse one that others may write: the facts in it decide what a model needs."""
        try:
            os.makedirs(str(self.directory), mode=0o700, exist_ok=True)
            status = os.stat(str(self.directory))
        except OSError as error:
            raise self._unusable(error)
        remedy = "remove it, or set cache_dir to a directory of your own"
        if status.st_uid not in (os.geteuid(), 0):
            raise CacheError("the cache directory %s belongs to another user: %s" % (self.directory, remedy))
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CacheError(
                "others may write the cache directory %s (mode %04o): %s"
                % (self.directory, stat.S_IMODE(status.st_mode), remedy)
            )

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            "cannot use the cache directory %s: %s; set cache_dir to a directory that you may write"
            % (self.directory, error.strerror or error)
        )

    def _mark(self, name: str) -> Any:
        """Return the file, open, that is locked while a header is read. The kernel unlocks it when its holder dies."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            return os.fdopen(os.open(os.path.join(str(self.directory), name + ".lock"), flags, 0o600), "rb")
        except OSError as error:
            raise self._unusable(error)

    def _of_another(
        self, mark: Any, path: str, key: list[str], before: dict[str, Any] | None, patience: float
    ) -> dict[str, Any] | None:
        """Return the facts that another process has read since `before` was; None where this one has to."""
        ends = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waits = False
            except BlockingIOError:
                waits = time.monotonic() < ends
            facts = _load(path, key)
            if facts is not None and facts != before:
                return facts
            if not waits:
                return None
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
    except (OSError, ValueError, RecursionError):
        return None
    if (
        isinstance(entry, dict)
        and entry.get("format") == FORMAT
        and entry.get("key") == key
        and isinstance(entry.get("facts"), dict)
    ):
        return entry["facts"]
    return None
