# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files, directories and links of the collection on a host, as they are, and the account of its services."""

from __future__ import annotations

import contextlib
import grp
import os
import posixpath
import pwd
import stat
from typing import Any

from ..common import library_directory, paths
from ..common.libraries import NVML, REQUESTS, LibraryMissing, import_pynvml, import_requests
from ..common.regular import open_regular, sha256_of
from . import file_system, places
from .files import DRAFTS
from .ownership import FilesError, group_name, user_name

#: Larger files than this are none of the collection's and are not read.
_LARGEST = 64 * 1024 * 1024
_FIXED = (
    paths.CONFIGURATION,
    paths.ENVIRONMENT_DIRECTORY,
    posixpath.dirname(paths.FACTS_DIRECTORY),
    paths.FACTS_DIRECTORY,
    paths.FACTS,
    paths.MADE,
    paths.METRICS_SETTINGS,
    paths.PLAN,
    paths.BEFORE,
    paths.INSTANCE_RELEASES,
    paths.CURRENT,
    paths.COMMAND,
    paths.PROGRAM_COMMAND,
    paths.STATE_DIRECTORY,
    paths.TEMPLATE_UNIT_FILE,
    paths.GPUS_UNIT_FILE,
    paths.READY_UNIT_FILE,
    paths.CHECK_UNIT_FILE,
    paths.CHECK_TIMER_FILE,
    paths.FIREWALL_UNIT_FILE,
    paths.FIREWALL_RULES,
    paths.NFTABLES_DROP_INS,
    paths.NFTABLES_DROP_IN,
)
_MAY_BE_LINKS = (
    paths.CONFIGURATION,
    paths.ENVIRONMENT_DIRECTORY,
    posixpath.dirname(paths.FACTS_DIRECTORY),
    paths.FACTS_DIRECTORY,
    paths.STATE_DIRECTORY,
)
_ABSENT = {"kind": "absent", "owner": None, "group": None, "mode": None, "digest": None, "target": None}
#: What a models directory may hold: the stores' parent, those of servers that are used for a while, what the program of
#: the host keeps in the default one, and what the root of a file system has.
_EXPECTED = (
    posixpath.basename(paths.stores("/")),
    posixpath.basename(paths.fetch_store("/")),
    posixpath.basename(paths.untouched_store("/")),
    posixpath.basename(paths.VERDICT),
    posixpath.basename(paths.HEALING),
    "lost+found",
)
#: Most names of other things in a models directory that are returned.
_MOST_ENTRIES = 20


def managed_files(
    models_dir: str, root: str = "/", metrics_directories: tuple[str, ...] = ()
) -> dict[str, dict[str, Any]]:
    """Return {path: file} of all that the collection has, or may put, on a host.

    Each file is as `describe` says, with `problem`: the sentence about why root does nothing there (places.py), None
    where it may. Of what has a problem nothing else is read. Behind a link of root to a directory, that directory is
    described; the parent of the stores and the stores themselves may not be links.

    Args:
        models_dir: the parent of the instances' stores; its own parents are described too.
        root: / except in tests.
        metrics_directories: where metrics are written, or were; they are described with their parents and the file.
    """
    found = {path: _described(path, root, follow=path in _MAY_BE_LINKS) for path in _FIXED}
    for parent in metrics_directories:
        path = paths.metrics_file(parent)
        found[path] = _described(path, root)
        while parent not in ("/", ""):
            found[parent] = _described(parent, root, follow=True)
            parent = posixpath.dirname(parent)
    for path in _of_instances(root):
        found[path] = _described(path, root)
    parent = models_dir
    while parent not in ("/", ""):
        found[parent] = _described(parent, root, strict=True, follow=True)
        parent = posixpath.dirname(parent)
    for path in (paths.stores(models_dir), paths.fetch_store(models_dir)):
        found[path] = _described(path, root, strict=True)
    found.update((path, _described(path, root, strict=True)) for path in _stores(models_dir, root))
    return found


def _of_instances(root: str) -> list[str]:
    """Paths of what each instance has: environment, plan and link to its release."""
    configured = [path for suffix in (".env", ".json") for path in _entries(paths.ENVIRONMENT_DIRECTORY, root, suffix)]
    return configured + _entries(paths.INSTANCE_RELEASES, root)


def stores(models_dir: str, root: str = "/") -> list[str]:
    """Return the names of the instances that have a store: a directory of the service user, in a place of root's.

    Args:
        models_dir: the parent of the instances' stores.
        root: / except in tests.
    """
    described = {path: _described(path, root, strict=True) for path in _stores(models_dir, root)}
    return [
        posixpath.basename(path)
        for path, entry in described.items()
        if entry["kind"] == "directory" and entry["owner"] == paths.USER
    ]


def models_directory(models_dir: str, root: str = "/") -> dict[str, Any]:
    """Return {path, homes, entries, free_bytes, parent, stores, fetch_store} of a models directory.

    `path` is where it leads, and `homes` where those of users lead, without links; `entries` names what lies in it
    beside the instances' stores, at most 20 of them; `free_bytes` is what its file system has left; `parent` is that of
    the instances' stores, `stores` are the paths of those that are there, and `fetch_store` is the path of that of the
    server that fetches models. Where root does nothing, nothing is read.

    Args:
        models_dir: the parent of the instances' stores.
        root: / except in tests.
    """
    place = paths.below(root, models_dir)
    entries: list[str] = []
    with contextlib.suppress(FilesError, FileNotFoundError, NotADirectoryError):
        place = places.safe_parent(place + "/x", True, root)
        entries = sorted(name for name in os.listdir(place) if name not in _EXPECTED and not name.startswith(DRAFTS))
    return {
        "path": place,
        "homes": file_system.real_homes(root),
        "entries": entries[:_MOST_ENTRIES],
        "free_bytes": file_system.free_bytes(place),
        "parent": paths.stores(models_dir),
        "stores": [paths.store(models_dir, name) for name in stores(models_dir, root)],
        "fetch_store": paths.fetch_store(models_dir),
    }


def _stores(models_dir: str, root: str) -> list[str]:
    """Paths of what lies in the parent of the stores; [] where that is no directory of root's, or a link."""
    parent = paths.stores(models_dir)
    if _described(parent, root, strict=True)["kind"] != "directory":
        return []
    return _entries(parent, root) if places.problem(paths.below(root, parent) + "/x", True, root) is None else []


def _described(path: str, root: str, strict: bool = False, follow: bool = False) -> dict[str, Any]:
    """A file as `managed_files` returns it; `strict` as in places.py."""
    place = paths.below(root, path)
    try:
        place = posixpath.join(places.safe_parent(place, strict, root), posixpath.basename(place))
        found = describe(place)
        if found["kind"] == "link" and follow:
            found = describe(places.safe_parent(place + "/x", strict, root))
    except FilesError as error:
        return dict(_ABSENT, problem="%s." % error)
    return dict(found, problem=None)


def describe(path: str) -> dict[str, Any]:
    """Return {kind, owner, group, mode, digest, target} of a file; a link is not followed.

    `kind` is absent, file, directory, link or other; `mode` is text in octal digits ("0644"); `digest` is the SHA-256
    of a file's content and `target` the text of a link. What does not apply is None.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return dict(_ABSENT)
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((name for test, name in kinds if test(status.st_mode)), "other")
    return {
        "kind": kind,
        "owner": user_name(status.st_uid),
        "group": group_name(status.st_gid),
        "mode": "%04o" % stat.S_IMODE(status.st_mode),
        "digest": _digest(path) if kind == "file" and status.st_size <= _LARGEST else None,
        "target": os.readlink(path) if kind == "link" else None,
    }


def account(user: str = paths.USER) -> dict[str, Any] | None:
    """Return {group, groups, home, shell} of a user, None where there is none; `groups` are the supplementary ones."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return {
        "group": group_name(entry.pw_gid),
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
    # The file may have been replaced by a link or a FIFO since it was looked at.
    with open_regular(path, follow=False) as stream:
        return sha256_of(stream)
