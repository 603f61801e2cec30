# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Owner, group and mode of a path: read what is asked for, compare it with what is there, and set it.

Owner and group are set only on what was just made; of what exists, only the mode is changed.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from dataclasses import dataclass
from typing import Any

#: Number of a user or group that the host does not have yet; only in check mode.
NOT_THERE_YET = -1


class FilesError(Exception):
    """A path cannot be put into the wanted state. The text is one sentence with a remedy."""


def parse_mode(mode: Any) -> int | None:
    """Return the permission bits of `mode`: a number, or octal digits in a text; None and "" are None.

    Raises:
        FilesError: It is neither.
    """
    if mode is None or mode == "":
        return None
    if isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode <= 0o7777:
        return mode
    if isinstance(mode, str) and re.match(r"(0o)?[0-7]{3,5}\Z", mode) and int(mode, 8) <= 0o7777:
        return int(mode, 8)
    raise FilesError("mode %r must be octal digits in quotes, such as '0644'" % (mode,))


@dataclass(frozen=True)
class Ownership:
    """Who a path is to belong to, and who may do what with it. None leaves what is there as it is.

    Attributes:
        owner: User name or number.
        group: Group name or number.
        mode: Permission bits; a link has none of its own.
    """

    owner: str | None = None
    group: str | None = None
    mode: int | None = None

    def numbers(self, path: str, check_mode: bool = False) -> tuple[int | None, int | None]:
        """Return the numbers of owner and group.

        In check mode a name that the host does not know is NOT_THERE_YET: an earlier task would have created it.

        Raises:
            FilesError: The host does not know the name; the message says that it is wanted for `path`.
        """
        user = _number(self.owner, lambda name: pwd.getpwnam(name).pw_uid)
        group = _number(self.group, lambda name: grp.getgrnam(name).gr_gid)
        for what, name, number in (("user", self.owner, user), ("group", self.group, group)):
            if number == NOT_THERE_YET and not check_mode:
                raise FilesError(
                    "%s is to belong to the %s %s, which the host does not have: create it first" % (path, what, name)
                )
        return user, group

    def differences(self, path: str, check_mode: bool = False) -> tuple[dict[str, str], dict[str, str]]:
        """Return what differs at `path`, as it is and as it is wanted.

        Raises:
            FilesError: As `numbers`.
        """
        there = os.lstat(path)
        user, group = self.numbers(path, check_mode)
        before, after = {}, {}
        if self.owner is not None and user != there.st_uid:
            before["owner"], after["owner"] = user_name(there.st_uid), self.owner
        if self.group is not None and group != there.st_gid:
            before["group"], after["group"] = group_name(there.st_gid), self.group
        mode = stat.S_IMODE(there.st_mode)
        if self.mode is not None and not stat.S_ISLNK(there.st_mode) and mode != self.mode:
            before["mode"], after["mode"] = "%04o" % mode, "%04o" % self.mode
        return before, after

    def give(self, path: str, default: os.stat_result | None = None) -> None:
        """Set what is wanted of something that was just made, and what is not given as in `default`.

        Args:
            path: what was made, in a directory that only the user of this process may enter. Nothing that existed
                before is given to anybody: it might be another file than the one that was looked at.
            default: of the file in whose place it is put.

        Raises:
            FilesError: As `numbers`.
            OSError: The system refuses.
        """
        user, group = self.numbers(path)
        mode = self.mode
        if default is not None:
            user = default.st_uid if user is None else user
            group = default.st_gid if group is None else group
            mode = stat.S_IMODE(default.st_mode) if mode is None else mode
        owner = (-1 if user is None else user, -1 if group is None else group)
        if owner != (-1, -1):
            os.chown(path, owner[0], owner[1], follow_symlinks=False)
        if mode is not None and not stat.S_ISLNK(os.lstat(path).st_mode):
            set_mode(path, mode)  # after the owner, because a change of the owner clears the set-user-id bit

    def described(self, link: bool = False) -> dict[str, str]:
        """Return what is wanted as a difference shows it."""
        described = {"owner": self.owner, "group": self.group}
        if self.mode is not None and not link:
            described["mode"] = "%04o" % self.mode
        return {key: value for key, value in described.items() if value is not None}


def set_mode(path: str, mode: int) -> None:
    """Set the permission bits of a file or directory. A link is not followed and is an error.

    Raises:
        OSError: The system refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _number(name: str | None, look_up: Any) -> int | None:
    """Return the number of a user or group, given by name or number; NOT_THERE_YET where the host has none."""
    if name is None or name.isdigit():
        return None if name is None else int(name)
    try:
        return look_up(name)
    except KeyError:
        return NOT_THERE_YET


def user_name(number: int) -> str:
    """Return the name of a user, its number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Return the name of a group, its number where it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
