# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file system that holds a path, also one that does not exist yet."""

from __future__ import annotations

import os


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
    space = os.statvfs(_nearest(path))
    return space.f_bavail * space.f_frsize


def _nearest(path: str) -> str:
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
