# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The last verdict of the host, in a file that monitoring can read."""

from __future__ import annotations

import os
from typing import Any

from ..common.json_text import json_text
from ..host.files import Files, WantedFile
from ..host.json_file import read_object
from ..host.ownership import FilesError, Ownership
from .output import clipped
from .shapes import CANNOT, Refused

#: Everybody may read a verdict: it holds no values of environments.
_MODE, _DIRECTORY_MODE = 0o644, 0o755


def write(path: str, content: dict[str, Any]) -> None:
    """Put a file of the program in its place by a rename, and make its directory where it is missing.

    Raises:
        Refused: the place is not safe, or the system refuses.
    """
    files = Files(False, backup=_no_backup, set_context=_no_context)
    directory = os.path.dirname(path)
    try:
        if not os.path.isdir(directory):
            files.put(WantedFile(directory, "directory", ownership=Ownership(mode=_DIRECTORY_MODE)))
        files.put(WantedFile(path, content=json_text(clipped(content)).encode(), ownership=Ownership(mode=_MODE)))
    except FilesError as error:
        raise Refused(CANNOT, "%s." % error)


def read(path: str) -> dict[str, Any]:
    """Return the content of a file of the program, {} where there is none."""
    return read_object(path) or {}


def _no_backup(path: str) -> str:
    return path


def _no_context(_path: str) -> bool:
    """A file takes the SELinux type of its directory, which is the right one here."""
    return False
