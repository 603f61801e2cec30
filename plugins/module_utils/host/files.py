# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Directories, files, links and absences on a host: compare what is there with what is wanted, and put it in place.

Files and links come into their place by a rename, with owner and mode already set: at no moment can a reader see half
a file, or a file that holds secrets with the mode of the umask. A link is never followed, with one exception: a
directory may be a link that the administrator made (owned by root or by the user of this process).
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field, replace
from typing import Any, Callable

#: Longest content that a difference shows, in bytes.
SHOWN_BYTES = 100 * 1024

_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}


class FilesError(Exception):
    """A path cannot be put into the wanted state. The text is one sentence with a remedy."""


@dataclass(frozen=True)
class WantedFile:
    """What is to be at a path.

    Attributes:
        path: Absolute path.
        state: directory, file, link or absent.
        content: Content of a file.
        target: What a link points to; it need not exist.
        owner: User name or number; None leaves the owner as it is.
        group: Group name or number; None leaves the group as it is.
        mode: Permission bits of a directory or file; None leaves them as they are.
        backup: Whether the file that is replaced or removed is copied first.
        show_content: Whether the difference shows the content of files.
        force: Whether a link may replace a regular file.
    """

    path: str
    state: str = "file"
    content: bytes = b""
    target: str = ""
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    backup: bool = False
    show_content: bool = True
    force: bool = False


@dataclass
class Outcome:
    """What was done at a path, or would be in check mode.

    Attributes:
        path: The path.
        action: none, create, change (content or target of a link), attributes (owner, group or mode alone) or remove.
        differences: Pairs (before, after) as Ansible shows them: a text, or a dictionary of attributes.
        backup_file: Path of the copy of what was there; None where none was made.
    """

    path: str
    action: str = "none"
    differences: list[tuple[Any, Any]] = field(default_factory=list)
    backup_file: str | None = None

    @property
    def changed(self) -> bool:
        """Whether something differs from what was there."""
        return self.action != "none"


def parse_mode(mode: Any) -> int | None:
    """Return the permission bits of `mode`: a number, or octal digits in a text; None stays None.

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


class Files(object):
    """Puts paths into their wanted states, one after the other.

    Args:
        check_mode: Whether nothing may be changed.
        backup: Function that copies a file and returns the path of the copy.
        set_context: Function that gives a path its default SELinux context and returns whether that changes something.
    """

    def __init__(
        self,
        check_mode: bool = False,
        backup: Callable[[str], str] | None = None,
        set_context: Callable[[str], bool] | None = None,
    ) -> None:
        self._check_mode = check_mode
        self._backup = backup
        self._set_context = set_context or (lambda path: False)

    def put(self, wanted: WantedFile) -> Outcome:
        """Put one path into its wanted state.

        Raises:
            FilesError: Something of another kind is there, an owner is not known, or the system refuses.
        """
        # A path that ends in a slash would follow a link, and "//" is the root directory too.
        path = "/" + os.path.normpath(wanted.path).lstrip("/")
        if not os.path.isabs(wanted.path) or path == "/":
            raise FilesError("%s: give an absolute path, and not the root directory" % wanted.path)
        wanted = replace(wanted, path=path)
        do = {"directory": self._directory, "file": self._file, "link": self._link, "absent": self._absent}
        try:
            return do[wanted.state](wanted)
        except OSError as error:
            raise FilesError(
                "%s cannot be put into the state %s: %s; run the task with become, or see to the file system"
                % (wanted.path, wanted.state, error.strerror or error)
            )

    # -- the four states -----------------------------------------------------------------------------------------------

    def _directory(self, wanted: WantedFile) -> Outcome:
        kind = _kind(wanted.path)
        path = wanted.path
        if kind == "link" and os.path.isdir(path):
            if os.lstat(path).st_uid not in (0, os.geteuid()):
                raise FilesError(
                    "%s is a link that neither root nor the user of this task made, and is not followed: "
                    "put a directory there" % path
                )
            path, kind = os.path.realpath(path), "directory"
        if kind not in ("absent", "directory"):
            raise FilesError("%s is a %s, and a directory is wanted there: move it away" % (wanted.path, kind))
        if kind == "directory":
            return self._attributes(wanted, path)
        outcome = Outcome(wanted.path, "create", [({"state": "absent"}, _described(wanted))])
        if self._check_mode:
            return outcome
        owner = _ids(wanted)
        for directory in reversed(_missing(path)):  # missing parents get the same owner and mode
            os.mkdir(directory)
            _set_owner_and_mode(directory, owner, wanted.mode)
            self._set_context(directory)
        return outcome

    def _file(self, wanted: WantedFile) -> Outcome:
        kind = _kind(wanted.path)
        if kind not in ("absent", "file", "link"):
            raise FilesError("%s is a %s, and a file is wanted there: move it away" % (wanted.path, kind))
        before = _read(wanted.path) if kind == "file" else b""
        if kind == "file" and before == wanted.content:
            return self._attributes(wanted, wanted.path)
        outcome = Outcome(wanted.path, "create" if kind == "absent" else "change")
        if kind == "link":
            outcome.differences.append((_link_described(wanted.path), {"state": "file"}))
        outcome.differences.append(_contents(wanted, before if kind == "file" else None, wanted.content))
        outcome.differences += self._attribute_differences(wanted, wanted.path) if kind == "file" else []
        if self._check_mode:
            return outcome
        outcome.backup_file = self._copied(wanted, kind)
        _require_parent(wanted.path)
        with _renamed_into(wanted.path) as draft:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(wanted.content)
                stream.flush()
                os.fsync(stream.fileno())
            there = os.lstat(wanted.path) if kind == "file" else None
            user, group = _ids(wanted)
            if there is not None:
                user = there.st_uid if user is None else user
                group = there.st_gid if group is None else group
            mode = wanted.mode
            if mode is None:
                mode = stat.S_IMODE(there.st_mode) if there is not None else 0o666 & ~_umask()
            _set_owner_and_mode(draft, (user, group), mode)
        self._set_context(wanted.path)
        return outcome

    def _link(self, wanted: WantedFile) -> Outcome:
        kind = _kind(wanted.path)
        if kind == "file" and not wanted.force:
            raise FilesError(
                "%s is a file, and a link is wanted there: move it away, or set force: true to replace it" % wanted.path
            )
        if kind not in ("absent", "file", "link"):
            raise FilesError("%s is a %s, and a link is wanted there: move it away" % (wanted.path, kind))
        if kind == "link" and os.readlink(wanted.path) == wanted.target:
            return self._attributes(wanted, wanted.path)
        before = {"state": kind} if kind != "link" else _link_described(wanted.path)
        outcome = Outcome(wanted.path, "create" if kind == "absent" else "change", [(before, _described(wanted))])
        if self._check_mode:
            return outcome
        outcome.backup_file = self._copied(wanted, kind)
        _require_parent(wanted.path)
        with _renamed_into(wanted.path) as draft:
            os.symlink(wanted.target, draft)
            _set_owner_and_mode(draft, _ids(wanted), None)
        self._set_context(wanted.path)
        return outcome

    def _absent(self, wanted: WantedFile) -> Outcome:
        kind = _kind(wanted.path)
        if kind == "absent":
            return Outcome(wanted.path)
        before = _link_described(wanted.path) if kind == "link" else {"state": kind}
        outcome = Outcome(wanted.path, "remove", [(before, {"state": "absent"})])
        if kind == "file" and wanted.show_content:
            outcome.differences = [_contents(wanted, _read(wanted.path), None)]
        if self._check_mode:
            return outcome
        outcome.backup_file = self._copied(wanted, kind)
        if kind == "directory":
            shutil.rmtree(wanted.path)
        else:
            os.unlink(wanted.path)
        return outcome

    # -- owner, group and mode -----------------------------------------------------------------------------------------

    def _attributes(self, wanted: WantedFile, path: str) -> Outcome:
        """Set owner, group, mode and SELinux context of what is there already."""
        outcome = Outcome(wanted.path, "none", self._attribute_differences(wanted, path))
        if outcome.differences:
            outcome.action = "attributes"
            if not self._check_mode:
                _set_owner_and_mode(path, _ids(wanted), None if os.path.islink(path) else wanted.mode)
        if self._set_context(path):
            outcome.action = "attributes"
        return outcome

    def _attribute_differences(self, wanted: WantedFile, path: str) -> list[tuple[Any, Any]]:
        there = os.lstat(path)
        before, after = {}, {}
        numbers = _ids(wanted, self._check_mode)
        for what, text, number, present in (
            ("owner", wanted.owner, numbers[0], there.st_uid),
            ("group", wanted.group, numbers[1], there.st_gid),
        ):
            if text is not None and number != present:
                before[what], after[what] = _name(what, present), text
        mode = stat.S_IMODE(there.st_mode)
        if wanted.mode is not None and not stat.S_ISLNK(there.st_mode) and mode != wanted.mode:
            before["mode"], after["mode"] = "%04o" % mode, "%04o" % wanted.mode
        return [(before, after)] if before else []

    def _copied(self, wanted: WantedFile, kind: str) -> str | None:
        if wanted.backup and kind == "file" and self._backup:
            return self._backup(wanted.path)
        return None


def _kind(path: str) -> str:
    """Return directory, file, link, absent, or "special file" of what is at `path` itself."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def _ids(wanted: WantedFile, check_mode: bool = False) -> tuple[int | None, int | None]:
    """Return the numbers of owner and group; None where none is given.

    In check mode -1 for a name that the host does not know: an earlier task would have made it.
    """
    numbers = []
    for what, text, look_up in (
        ("user", wanted.owner, lambda name: pwd.getpwnam(name).pw_uid),
        ("group", wanted.group, lambda name: grp.getgrnam(name).gr_gid),
    ):
        if text is None or text.isdigit():
            numbers.append(None if text is None else int(text))
            continue
        try:
            numbers.append(look_up(text))
        except KeyError:
            if not check_mode:
                raise FilesError(
                    "%s is to belong to the %s %s, which the host does not have: make it first"
                    % (wanted.path, what, text)
                )
            numbers.append(-1)
    return numbers[0], numbers[1]


def _name(what: str, number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name if what == "owner" else grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _set_owner_and_mode(path: str, owner: tuple[int | None, int | None], mode: int | None) -> None:
    """Set what is given. The owner first: a change of the owner takes set-user-id bits away."""
    user, group = (-1 if number is None else number for number in owner)
    there = os.lstat(path)
    if user not in (-1, there.st_uid) or group not in (-1, there.st_gid):
        os.chown(path, user, group, follow_symlinks=False)
    if mode is not None and stat.S_IMODE(os.lstat(path).st_mode) != mode:
        os.chmod(path, mode)


def _missing(path: str) -> list[str]:
    """Return `path` and those of its parents that do not exist, the deepest first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def _require_parent(path: str) -> None:
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise FilesError("%s has no directory %s to be put into: put that before it into the list" % (path, parent))


@contextlib.contextmanager
def _renamed_into(path: str):
    """Give the path of a draft beside `path`, and rename it to `path` when the block ends well; otherwise remove it."""
    directory = tempfile.mkdtemp(prefix=".ansible-", dir=os.path.dirname(path))  # 0700: nobody else sees the draft
    try:
        draft = os.path.join(directory, "draft")
        yield draft
        os.rename(draft, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# -- differences ---------------------------------------------------------------------------------------------------------


def _read(path: str) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        return stream.read()


def _link_described(path: str) -> dict[str, str]:
    return {"state": "link", "target": os.readlink(path)}


def _described(wanted: WantedFile) -> dict[str, str]:
    described = {"state": wanted.state}
    if wanted.state == "link":
        described["target"] = wanted.target
    for what in ("owner", "group"):
        if getattr(wanted, what) is not None:
            described[what] = getattr(wanted, what)
    if wanted.mode is not None and wanted.state != "link":
        described["mode"] = "%04o" % wanted.mode
    return described


def _contents(wanted: WantedFile, before: bytes | None, after: bytes | None) -> tuple[Any, Any]:
    """Return the difference of two contents, None being no file; what may not or cannot be shown is named only."""
    if not wanted.show_content:
        return (
            {"state": "absent"} if before is None else {"state": "file", "content": "not shown"},
            {"state": "absent"} if after is None else {"state": "file", "content": "another one, not shown"},
        )
    return _text(before), _text(after)


def _text(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > SHOWN_BYTES or b"\0" in content:
        return "(%d bytes, not shown)\n" % len(content)
    return content.decode("utf-8", "replace")
