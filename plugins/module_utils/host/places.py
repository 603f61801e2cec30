# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Places on a host in which root may work: nobody else can exchange a directory on the way to them.

Whoever may write in a directory can put a link to any other place into it, between the look at a path and the use of
it. A place is safe where every directory from the root directory down to it belongs to root (or to the user of this
process) and nobody else may write in it. The path stays what it was when it was looked at, and can be used by name.
"""

from __future__ import annotations

import os
import stat

from .ownership import FilesError, user_name


def owners() -> tuple[int, int]:
    """Return the numbers of the users whose directories are safe: root, and the user of this process."""
    return 0, os.geteuid()


def safe_parent(path: str, strict: bool = False, root: str = "/") -> str:
    """Return the directory that holds `path`, without links. What does not exist yet is returned as it is named.

    Args:
        path: absolute path; the last part itself is not looked at.
        strict: see `_refuse_writers`.
        root: where to begin; / except in tests.

    Raises:
        FilesError: a directory on the way belongs to, or may be written by, another user. The sentence starts with its
            path.
        OSError: the system refuses.
    """
    at = root
    _refuse_writers(at, os.lstat(at), strict)
    rest = [part for part in os.path.relpath(os.path.dirname(path), root).split("/") if part != "."]
    while rest:
        part = rest.pop(0)
        if part in ("", ".", ".."):
            at = os.path.dirname(at) if part == ".." else at
            continue
        inner = os.path.join(at, part)
        try:
            status = os.lstat(inner)
        except FileNotFoundError:
            return os.path.join(inner, *rest)
        if stat.S_ISLNK(status.st_mode):
            target = _target(inner, status)
            at = "/" if target.startswith("/") else at
            rest = target.split("/") + rest
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise FilesError("%s is not a directory, and %s is wanted in it: move it away" % (inner, path))
        _refuse_writers(inner, status, strict)
        at = inner
    return at


def problem(path: str, strict: bool = False, root: str = "/") -> str | None:
    """Return the sentence about why root does nothing at `path`, None where it may; see `safe_parent`."""
    try:
        safe_parent(path, strict, root)
    except FilesError as error:
        return "%s." % error
    return None


def _target(link: str, status: os.stat_result) -> str:
    if status.st_uid not in owners():
        raise FilesError(
            "%s is a link that belongs to %s, who may point it anywhere, and is not followed: put a directory of root "
            "there" % (link, user_name(status.st_uid))
        )
    if not os.path.isdir(link):
        raise FilesError(
            "%s is a link to %s, where there is no directory: create that directory, or remove the link"
            % (link, os.readlink(link))
        )
    return os.readlink(link)


def _refuse_writers(path: str, status: os.stat_result, strict: bool) -> None:
    """Refuse a directory in which somebody else could exchange what root works on.

    Args:
        path: of the directory.
        status: of the directory.
        strict: whether a group may not write there either, and every user not even with the sticky bit. With that bit
            nobody can exchange what belongs to others, which is enough for a path that is looked at part by part; and
            the group of /usr/local (staff, in Debian) is as trusted as root. A directory that services work in gets
            no such benefit of the doubt.

    Raises:
        FilesError: see above.
    """
    if status.st_uid not in owners():
        raise FilesError(
            "%s belongs to %s, who could exchange what is in it while root works there: use another directory, or give "
            "it to root after a look at what is in it (chown root %s)" % (path, user_name(status.st_uid), path)
        )
    if status.st_mode & stat.S_IWOTH and (strict or not status.st_mode & stat.S_ISVTX):
        raise FilesError(
            "%s may be written by every user, who could exchange what is in it while root works there: use another "
            "directory, or take that right away (chmod o-w %s)" % (path, path)
        )
    if strict and status.st_mode & stat.S_IWGRP:
        raise FilesError(
            "%s may be written by its group, who could exchange what is in it while root works there: use another "
            "directory, or take that right away (chmod g-w %s)" % (path, path)
        )
