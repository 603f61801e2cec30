# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Remove a directory with all that is in it, each part with the rights of the user that it belongs to.

Everything is reached from an open directory and nothing through a link, so that nobody can lead root elsewhere by an
exchange. What lies in a directory of the service user is removed as that user.
"""

from __future__ import annotations

import os
import stat

from ..common import paths
from . import as_user
from .ownership import FilesError, user_name
from .places import owners

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a directory of root, of the user of this process or of the service user.

    Args:
        path: a directory, in a place that is safe (places.py).

    Raises:
        FilesError: something in it cannot be removed; the rest may be gone.
        OSError: the system refuses.
    """
    parent = os.open(os.path.dirname(path), _DIRECTORY)
    try:
        _remove(parent, os.path.basename(path), path)
    finally:
        os.close(parent)


def in_directory_of_services(path: str) -> str | None:
    """Return the highest directory above a path that belongs to the service user; None without one.

    Args:
        path: absolute, without "..".
    """
    above = os.path.dirname(path)
    parents = [above]
    while parents[-1] != "/":
        parents.append(os.path.dirname(parents[-1]))
    for parent in reversed(parents):
        try:
            status = os.lstat(parent)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISDIR(status.st_mode) and status.st_uid not in owners() and user_name(status.st_uid) == paths.USER:
            return parent
    return None


def remove_as_service(top: str, path: str) -> bool:
    """Remove what is at a path in a directory of the service user, as that user; return whether there was anything.

    Args:
        top: of in_directory_of_services, in a place that is safe (places.py).
        path: below it.

    Raises:
        FilesError: it cannot be removed; a part of it may be gone.
        OSError: the system refuses.
    """
    directory = os.open(top, _DIRECTORY)
    try:
        user = as_user.account(paths.USER)
        return as_user.call_as(user, _remove_below, directory, top, path, expected=(FilesError,))
    except as_user.UserError as error:
        raise FilesError("%s cannot be removed: %s" % (path, error))
    finally:
        os.close(directory)


def _remove_below(directory: int, top: str, path: str) -> bool:
    *parents, name = os.path.relpath(path, top).split("/")
    at = os.dup(directory)
    try:
        for part in parents:
            inner = os.open(part, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = inner
        os.stat(name, dir_fd=at, follow_symlinks=False)
        _remove(at, name, path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FilesError(
            "%s cannot be removed as the user %s (%s)" % (path, user_name(os.geteuid()), error.strerror or error)
        )
    finally:
        os.close(at)
    return True


def _remove(parent: int, name: str, path: str) -> None:
    """Remove what is at `name` in an open directory; `path` is what messages say."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            _empty_as_owner(directory, path)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        raise FilesError(
            "%s cannot be removed as the user %s (%s): remove it yourself after a look at it, and run again"
            % (path, user_name(os.geteuid()), error.strerror or error)
        )


def _empty_as_owner(directory: int, path: str) -> None:
    owner = os.fstat(directory).st_uid
    if owner in owners():
        _empty(directory, path)
    elif os.geteuid() == 0 and user_name(owner) == paths.USER:
        try:
            as_user.call_as(as_user.account(paths.USER), _empty, directory, path, expected=(FilesError,))
        except as_user.UserError as error:
            raise FilesError("%s cannot be emptied: %s" % (path, error))
    else:
        raise FilesError(
            "%s belongs to %s, so it is not removed: remove it yourself after a look at it, and run again"
            % (path, user_name(owner))
        )


def _empty(directory: int, path: str) -> None:
    for name in sorted(os.listdir(directory)):
        _remove(directory, name, os.path.join(path, name))
