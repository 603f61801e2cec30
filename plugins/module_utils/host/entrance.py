# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the service user can enter the directories above its stores: asked as that user, so that permissions, access
lists and file systems that treat users differently all count."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Optional

from .as_user import Account, UserError, call_as, service_account
from .child import DeadlineExceeded

_SECONDS = 20.0


def closed_directory(path: str, user: Optional[Account] = None) -> Optional[str]:
    """Return the first directory above `path` that the service user cannot enter, None where it can enter all.

    Directories that are not there yet do not count. Nor does `path` itself: the role gives it its permissions.

    Args:
        path: absolute path; links in it are followed.
        user: None = the service user, or `nobody` on a host without it.
    """
    above = os.path.dirname(os.path.realpath(path))
    parts = [part for part in above.split("/") if part]
    directories = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    try:
        return call_as(user or service_account(), _first_closed, directories, timeout=_SECONDS)
    except (UserError, DeadlineExceeded):
        return None  # not known; the service will tell


def _first_closed(directories: Sequence[str]) -> Optional[str]:
    for directory in directories:
        if not os.access(directory, os.F_OK):
            return None
        if not os.access(directory, os.X_OK):
            return directory
    return None
