# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The directory of ours on a host that holds copies of the modules' libraries: compare, fill, remove."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import TOP_LEVEL


def exists(path):
    """True if the directory is there."""
    return os.path.isdir(path)


def digest(path, name):
    """SHA-256 over names and contents of library `name` in directory `path` (as plugin_utils.library_copies.tree_digest), or None if absent."""
    lines = []
    for entry in TOP_LEVEL[name]:
        top = os.path.join(path, entry)
        for file in [top] if os.path.isfile(top) else _files_below(top):
            with open(file, "rb") as handle:
                content = hashlib.sha256(handle.read()).hexdigest()
            lines.append("%s\0%s\n" % (os.path.relpath(file, path), content))
    if not lines:
        return None
    total = hashlib.sha256()
    for line in sorted(lines):
        total.update(line.encode())
    return total.hexdigest()


def _files_below(directory):
    found = []
    for parent, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name != "__pycache__"]
        found.extend(os.path.join(parent, name) for name in files)
    return found


def unpack(archive, path, names):
    """Replace the copies of `names` in `path` by those in the zip file `archive`.

    Everything is unpacked beside the directory first and moved in by rename, so that a run that is killed leaves whole
    packages only; the next run sees by the digests what is still to do. Raises OSError.
    """
    parent = os.path.dirname(path.rstrip("/"))
    os.makedirs(parent, mode=0o755, exist_ok=True)
    if not os.path.isdir(path):
        os.mkdir(path)
        os.chmod(path, 0o755)  # whatever the umask: other users' modules read it
    for leftover in os.listdir(parent):
        if leftover.startswith(".libraries-"):
            shutil.rmtree(os.path.join(parent, leftover), ignore_errors=True)
    draft = tempfile.mkdtemp(prefix=".libraries-", dir=parent)
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(draft)
        for directory, unused, files in os.walk(draft):
            os.chmod(directory, 0o755)
            for file in files:
                os.chmod(os.path.join(directory, file), 0o644)
        for name in names:
            for entry in TOP_LEVEL[name]:
                _replace(os.path.join(draft, entry), os.path.join(path, entry), os.path.join(draft, "old-" + entry))
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(new, place, old):
    """Move `place` out of the way and `new`, where there is one, into it."""
    if os.path.lexists(place):
        os.rename(place, old)
    if os.path.lexists(new):
        os.rename(new, place)


def remove(path):
    """Remove the directory with all it holds. Raises OSError."""
    shutil.rmtree(path)
