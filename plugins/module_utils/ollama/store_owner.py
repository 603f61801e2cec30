# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who works in a store: the user that it belongs to."""

from __future__ import annotations

import os
import pwd
import stat

from ..host import as_user
from .store_directory import StoreError, foreign, refusal, user_name

_MOST_LINKS = 40


def worker(path: str, user: str | None = None, fallback: str | None = None) -> as_user.Account | None:
    """Return the user as whom a store is changed; None for this process.

    Args:
        path: of the store, which need not exist; then the nearest parent that does tells.
        user: the user that the store must belong to. Without it, the owner of the store, if nobody else can put another
            directory in its place.
        fallback: a user for what changes nothing, on a host that does not have `user` yet.

    Raises:
        StoreError: there is no such user, or the store cannot be trusted to be its own.
    """
    if os.geteuid() != 0:
        return None
    try:
        if user and fallback and not _exists(user):
            return as_user.account(fallback)
        return as_user.account(user) if user else _owner(path)
    except as_user.UserError as error:
        raise StoreError("the store %s cannot be changed: %s" % (path, error))


def _owner(path: str) -> as_user.Account | None:
    """The owner of a store; None for root.

    Raises:
        StoreError: another user than root and the owner may exchange a directory on the way to it.
        UserError: the host does not know the owner.
    """
    uid = os.stat(nearest(path)).st_uid
    waiting, at, links = _parts(path), "/", 0
    while waiting:
        _check(at, os.lstat(at), uid)
        entry = os.path.join(at, waiting.pop(0))
        try:
            found = os.lstat(entry)
        except FileNotFoundError:
            break
        if stat.S_ISDIR(found.st_mode):
            at = entry
            continue
        links += 1
        # The store itself is no link, and on the way to it only those of root are followed.
        if not stat.S_ISLNK(found.st_mode) or not waiting or found.st_uid != 0 or links > _MOST_LINKS:
            raise StoreError(refusal(entry, found))
        target = os.readlink(entry)
        waiting = _parts(target) + waiting
        at = "/" if target.startswith("/") else at
    if uid == 0:
        return None
    try:
        return as_user.account(pwd.getpwuid(uid).pw_name)
    except KeyError:
        raise StoreError("the store %s belongs to %s, which this host does not know" % (path, user_name(uid)))


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def nearest(path: str) -> str:
    """Return a path, or its nearest parent that exists. Raises StoreError where that cannot be found out."""
    while True:
        try:
            os.stat(path)
            return path
        except FileNotFoundError:
            path = os.path.dirname(path)
        except OSError as error:
            raise StoreError("cannot look at %s: %s" % (path, error.strerror or error))


def _check(path: str, status: os.stat_result, uid: int) -> None:
    """Refuse a directory in which another user than root and `uid` may put another one in the place of the next."""
    if status.st_uid not in (0, uid):
        raise StoreError(foreign(path, status, user_name(uid)))
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise StoreError(
            "%s may be written by others than its owner, who could exchange what lies in it: take that right away "
            "with chmod go-w %s" % (path, path)
        )
