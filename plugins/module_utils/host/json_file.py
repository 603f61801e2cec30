# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""JSON files of the collection on a host."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Optional

from ..common.json_text import json_text
from ..common.regular import read_regular
from .files import Files, WantedFile
from .ownership import Ownership

_DIRECTORY_MODE = 0o755


def read_object(path: str) -> Optional[Dict[str, Any]]:
    """Return the object in a JSON file; None where the file is missing, cut or no object: it was never finished."""
    try:
        content = json.loads(read_regular(path).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_object(path: str, content: Dict[str, Any], mode: int) -> None:
    """Put a JSON file in its place by a rename, and make its directory where it is missing.

    Args:
        path: of the file.
        content: what it holds.
        mode: permission bits.

    Raises:
        FilesError: the place is not safe, or the system refuses.
    """
    write_text(path, json_text(content), mode)


def write_text(path: str, content: str, mode: int) -> None:
    """Put a file of text in its place as `write_object` does. Raises FilesError."""
    files = Files(False, backup=str, set_context=_no_context)
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        files.put(WantedFile(directory, "directory", ownership=Ownership(mode=_DIRECTORY_MODE)))
    files.put(WantedFile(path, content=content.encode(), ownership=Ownership(mode=mode)))


def _no_context(_path: str) -> bool:
    """A file takes the SELinux type of its directory."""
    return False
