# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files, directories and links of the collection on a host, as they are, and the account of its services."""

from __future__ import annotations

import grp
import hashlib
import os
import posixpath
import pwd
import stat
from typing import Any

from ..common import library_directory, paths
from ..common.libraries import NVML, REQUESTS, LibraryMissing, import_pynvml, import_requests
from ..common.regular import open_regular

#: Larger files than this are none of the collection's and are not read.
_LARGEST = 64 * 1024 * 1024
_FIXED = (
    paths.CONFIGURATION,
    paths.ENVIRONMENT_DIRECTORY,
    posixpath.dirname(paths.FACTS_DIRECTORY),
    paths.FACTS_DIRECTORY,
    paths.FACTS,
    paths.PLAN,
    paths.CURRENT,
    paths.COMMAND,
    paths.TEMPLATE_UNIT_FILE,
    paths.STATE_DIRECTORY,
)


def managed_files(models_dir: str, root: str = "/") -> dict[str, dict[str, Any]]:
    """Return {path: file} of all that the collection has, or may put, on a host; see `describe`.

    Args:
        models_dir: the parent of the instances' stores; its own parents are described too.
        root: / except in tests.
    """
    wanted = list(_FIXED)
    wanted += _entries(paths.ENVIRONMENT_DIRECTORY, root, ".env")
    parent = models_dir
    while parent not in ("/", ""):
        wanted.append(parent)
        parent = posixpath.dirname(parent)
    wanted.append(paths.stores(models_dir))
    wanted += _entries(paths.stores(models_dir), root)
    return {path: describe(_directory(path, paths.below(root, path))) for path in wanted}


def describe(path: str) -> dict[str, Any]:
    """Return {kind, owner, group, mode, digest, target} of a file; a link is not followed.

    `kind` is absent, file, directory, link or other; `mode` is text in octal digits ("0644"); `digest` is the SHA-256
    of a file's content and `target` the text of a link. What does not apply is None.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"kind": "absent", "owner": None, "group": None, "mode": None, "digest": None, "target": None}
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((name for test, name in kinds if test(status.st_mode)), "other")
    return {
        "kind": kind,
        "owner": _name(pwd.getpwuid, status.st_uid),
        "group": _name(grp.getgrgid, status.st_gid),
        "mode": "%04o" % stat.S_IMODE(status.st_mode),
        "digest": _digest(path) if kind == "file" and status.st_size <= _LARGEST else None,
        "target": os.readlink(path) if kind == "link" else None,
    }


def _directory(path: str, place: str) -> str:
    """The directory behind a link that root has put in its place, as module instance_files follows it; other paths as
    they are."""
    if path in (paths.CURRENT, paths.COMMAND) or not os.path.islink(place) or os.lstat(place).st_uid != 0:
        return place
    return os.path.realpath(place) if os.path.isdir(place) else place


def account(user: str = paths.USER) -> dict[str, Any] | None:
    """Return {group, groups, home, shell} of a user, None where there is none; `groups` are the supplementary ones."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return {
        "group": _name(grp.getgrgid, entry.pw_gid),
        "groups": sorted(group.gr_name for group in grp.getgrall() if user in group.gr_mem),
        "home": entry.pw_dir,
        "shell": entry.pw_shell,
    }


def libraries(root: str = "/") -> dict[str, dict[str, Any]]:
    """Return {library: {own, digest}} of the modules' Python libraries.

    `own` tells whether the host's Python has the library itself; `digest` is the tree digest of the copy that the
    collection has put on the host, None where there is none.
    """
    place = paths.below(root, paths.LIBRARIES)
    return {
        name: {"own": _importable(load), "digest": library_directory.digest(place, name)}
        for name, load in ((REQUESTS, import_requests), (NVML, import_pynvml))
    }


def _importable(load: Any) -> bool:
    try:
        load([])
    except LibraryMissing:
        return False
    return True


def _entries(directory: str, root: str, suffix: str = "") -> list[str]:
    """Paths of the visible entries of a directory, [] where there is none."""
    place = paths.below(root, directory)
    try:
        names = sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [posixpath.join(directory, name) for name in names if name.endswith(suffix) and not name.startswith(".")]


def _digest(path: str) -> str:
    sha256 = hashlib.sha256()
    # The file may have been replaced by a link or a FIFO since it was looked at.
    with open_regular(path, follow=False) as stream:
        for chunk in iter(lambda: stream.read(1024 * 1024), b""):
            sha256.update(chunk)
    return sha256.hexdigest()


def _name(look_up: Any, number: int) -> str:
    """Name of a user or group; its number where it has none."""
    try:
        return look_up(number)[0]
    except KeyError:
        return str(number)
