# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The directory of ours on a host that holds copies of the modules' libraries: compare, fill, remove."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from typing import Iterable, Iterator, Mapping, Optional

from .libraries import TOP_LEVEL

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
#: Start of the names of directories in which archives are unpacked before they are moved into place.
_DRAFT = ".libraries-"


def exists(path: str) -> bool:
    """Return whether the directory is there."""
    return os.path.isdir(path)


def tree_digest(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the names and contents of files.

    Args:
        contents: relative path to content, in any order.
    """
    total = hashlib.sha256()
    for path in sorted(contents):
        total.update(("%s\0%s\n" % (path, hashlib.sha256(contents[path]).hexdigest())).encode())
    return total.hexdigest()


def digest(path: str, name: str) -> Optional[str]:
    """Return the `tree_digest` of a library in a directory, None where it is not there.

    Args:
        path: the directory.
        name: the library, a key of TOP_LEVEL.
    """
    contents = {}
    for entry in TOP_LEVEL[name]:
        top = os.path.join(path, entry)
        for file in [top] if os.path.isfile(top) else _files_below(top):
            with open(file, "rb") as handle:
                contents[os.path.relpath(file, path)] = handle.read()
    return tree_digest(contents) if contents else None


def unpack(archive: str, path: str, names: Iterable[str]) -> None:
    """Replace the copies of libraries in a directory by those in a zip file.

    Everything is unpacked beside the directory first and moved in by rename, so that a run that is killed leaves whole
    packages only; the next run sees by the digests what is still to do.

    Args:
        archive: the zip file.
        path: the directory; it is made where it is missing.
        names: the libraries, keys of TOP_LEVEL.

    Raises:
        OSError: it could not be written.
    """
    parent = os.path.dirname(path.rstrip("/"))
    os.makedirs(parent, mode=_DIRECTORY_MODE, exist_ok=True)
    if not os.path.isdir(path):
        os.mkdir(path)
        os.chmod(path, _DIRECTORY_MODE)  # whatever the umask: other users' modules read it
    for leftover in os.listdir(parent):
        if leftover.startswith(_DRAFT):
            shutil.rmtree(os.path.join(parent, leftover), ignore_errors=True)
    draft = tempfile.mkdtemp(prefix=_DRAFT, dir=parent)
    try:
        _unpack_readable(archive, draft)
        for name in names:
            for entry in TOP_LEVEL[name]:
                _replace(os.path.join(draft, entry), os.path.join(path, entry), os.path.join(draft, "old-" + entry))
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove(path: str) -> None:
    """Remove the directory with all it holds.

    Raises:
        OSError: it could not be removed.
    """
    shutil.rmtree(path)


def _files_below(directory: str) -> Iterator[str]:
    for parent, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name != "__pycache__"]
        for name in files:
            yield os.path.join(parent, name)


def _unpack_readable(archive: str, directory: str) -> None:
    """Unpack a zip file so that all users can read what was in it."""
    with zipfile.ZipFile(archive) as content:
        content.extractall(directory)
    for parent, unused, files in os.walk(directory):
        os.chmod(parent, _DIRECTORY_MODE)
        for file in files:
            os.chmod(os.path.join(parent, file), _FILE_MODE)


def _replace(new: str, place: str, old: str) -> None:
    """Move `place` out of the way and `new`, where there is one, into it."""
    if os.path.lexists(place):
        os.rename(place, old)
    if os.path.lexists(new):
        os.rename(new, place)
