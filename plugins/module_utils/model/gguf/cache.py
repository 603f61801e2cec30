# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a header kept by the digests of its blobs, so that ten hosts that delegate to the controller at once read it once.

The digest names the content, so an entry never grows stale; FORMAT changes when the facts themselves do.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile

FORMAT = 4


class CacheError(Exception):
    """The cache directory cannot be used. The text is one sentence."""


class Cache(object):
    """directory: created (mode 0700) when missing; None = nothing is kept."""

    def __init__(self, directory=None):
        self.directory = directory

    def fetch(self, digests, compute):
        """Facts kept for `digests`, or those of `compute()`, which no other process computes meanwhile. Raises CacheError and what compute raises."""
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
            fcntl.flock(
                lock, fcntl.LOCK_EX
            )  # given up by the kernel when the holder dies; the holder's own timeouts bound the wait
            facts = _load(path, digests)
            if facts is None:
                facts = compute()
                self._keep(path, digests, facts)
            return facts

    def _keep(self, path, digests, facts):
        try:
            handle, temporary = tempfile.mkstemp(dir=self.directory)
            with os.fdopen(handle, "w") as stream:
                json.dump({"format": FORMAT, "digests": digests, "facts": facts}, stream)
            os.replace(temporary, path)
        except OSError as error:
            raise CacheError("cannot write to the cache directory %s: %s" % (self.directory, error.strerror or error))


def _load(path, digests):
    """Facts of the entry at `path`; None where there is none, or none that can be trusted (a killed writer, another format)."""
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
