# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The last verdict of the host, in a file that monitoring can read."""

from __future__ import annotations

from typing import Any

from ..host.json_file import read_object, write_object
from ..host.ownership import FilesError
from .output import clipped
from .shapes import CANNOT, Refused

#: Everybody may read a verdict: it holds no values of environments.
_MODE = 0o644


def write(path: str, content: dict[str, Any]) -> None:
    """Put a file of the program in its place by a rename.

    Raises:
        Refused: the place is not safe, or the system refuses.
    """
    try:
        write_object(path, clipped(content), _MODE)
    except FilesError as error:
        raise Refused(CANNOT, "%s." % error)


def read(path: str) -> dict[str, Any]:
    """Return the content of a file of the program, {} where there is none."""
    return read_object(path) or {}
