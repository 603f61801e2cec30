# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file system that holds a path, also one that does not exist yet, and where the homes of users are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..common.hardening import HOMES
from ..common.paths import below


def device(path: str) -> int:
    """Return the number of the file system that holds `path`, or its nearest parent that exists.

    Raises:
        OSError: It cannot be looked at.
    """
    return os.stat(_nearest(path)).st_dev


def free_bytes(path: str) -> int:
    """Return the bytes that an unprivileged user may still write in the file system of `path`, found as by `device`.

    Raises:
        OSError: It cannot be looked at.
    """
    return available(os.statvfs(_nearest(path)))


def available(space: os.statvfs_result) -> int:
    """Return the bytes that an unprivileged user may still write, of what statvfs or fstatvfs says."""
    return space.f_bavail * space.f_frsize


def room(places: Iterable[str], root: str = "/") -> list[dict[str, Any]]:
    """Return [{path, device, free_bytes}] of the file systems of places, which need not exist.

    Args:
        places: absolute paths.
        root: / except in tests.

    Raises:
        OSError: One cannot be looked at.
    """
    return [
        {"path": path, "device": device(below(root, path)), "free_bytes": free_bytes(below(root, path))}
        for path in places
    ]


def real_homes(root: str = "/") -> list[str]:
    """Return where the homes of users lead, without links.

    Args:
        root: / except in tests.
    """
    return [os.path.realpath(below(root, home)) for home in HOMES]


def _nearest(path: str) -> str:
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
