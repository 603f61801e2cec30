# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Find what belongs to others in the store of an instance, which is also the home of its service.

The store is removed as the service user, who cannot empty a directory of another user. The home also has keys, caches
and temporary files: names do not matter here, nor whether something is a link or a special file, only the owner.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import deque

from ..common import paths
from .store_directory import MAX_ENTRIES, OpenStore, StoreError, foreign, status_of

#: Most directories from the store to an entry that is looked at.
MAX_DEPTH = 40
#: What mkfs makes for root in the top directory of a file system, which a store may be.
_LOST_AND_FOUND = ("lost+found",)


def foreign_entries(store: OpenStore, uid: int, most: int) -> list[str]:
    """Return sentences about what belongs to another user; of a directory, nothing about what is in it.

    Nearer entries are looked at first. After MAX_ENTRIES the rest is not looked at, and neither is what cannot be
    read: a cache may have any number of files, and may change meanwhile.

    Args:
        store: of an instance.
        uid: number of the service user.
        most: number of sentences.
    """
    found: list[str] = []
    waiting: deque[tuple[str, ...]] = deque([()])
    left = MAX_ENTRIES
    while waiting and left > 0:
        parts = waiting.popleft()
        statuses = _statuses(store, parts, left)
        left -= len(statuses) + 1
        for name, status in statuses:
            inside = (*parts, name)
            if inside == _LOST_AND_FOUND and status.st_uid == 0:
                continue
            if status.st_uid != uid:
                found.append(foreign("/".join((store.path, *inside)), status, paths.USER))
                if len(found) >= most:
                    return found
            elif stat.S_ISDIR(status.st_mode) and len(inside) < MAX_DEPTH:
                waiting.append(inside)
    return found


def _statuses(store: OpenStore, parts: tuple[str, ...], limit: int) -> list[tuple[str, os.stat_result]]:
    """Names and statuses of at most `limit` entries of a directory; none where it cannot be read."""
    found: list[tuple[str, os.stat_result]] = []
    with contextlib.suppress(StoreError, OSError), store.directory(*parts) as directory:
        if directory is None:
            return found
        with os.scandir(directory) as entries:
            names = [entry.name for entry in itertools.islice(entries, limit)]
        for name in sorted(names):
            with contextlib.suppress(OSError):
                status = status_of(name, directory)
                if status is not None:
                    found.append((name, status))
    return found
