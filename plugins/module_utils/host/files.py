# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put directories, files and links in place on a host, or remove them, where what is there differs from what is wanted.

Files and links are put in place by a rename, with owner and mode already set: at no moment can anybody read half a
file, or a file with secrets that has the mode of the umask. A link is not followed, with one exception: a directory may
be a link that belongs to root or to the user of this process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ..common.regular import read_regular
from .ownership import FilesError, Ownership

#: Longest content that a difference shows, in bytes.
SHOWN_BYTES = 100 * 1024

_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}


@dataclass(frozen=True)
class WantedFile:
    """What is to be at a path.

    Attributes:
        path: Absolute path.
        state: directory, file, link or absent.
        content: Content of a file.
        target: What a link points to; it need not exist.
        ownership: Owner, group and mode.
        backup: Whether the file that is replaced or removed is copied first.
        show_content: Whether the difference shows the content of files.
        force: Whether a link may replace a regular file.
    """

    path: str
    state: str = "file"
    content: bytes = b""
    target: str = ""
    ownership: Ownership = Ownership()
    backup: bool = False
    show_content: bool = True
    force: bool = False

    def described(self) -> dict[str, str]:
        """Return what is wanted as a difference shows it, without the content."""
        described = {"state": self.state, **self.ownership.described(link=self.state == "link")}
        return {**described, "target": self.target} if self.state == "link" else described


@dataclass
class FileOutcome:
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


class Files:
    """Puts paths into their wanted states.

    Args:
        check_mode: Whether nothing may be changed.
        backup: Function that copies a file and returns the path of the copy.
        set_context: Function that gives a path its default SELinux context and returns whether that changes something.
    """

    def __init__(self, check_mode: bool, backup: Callable[[str], str], set_context: Callable[[str], bool]) -> None:
        self._check_mode = check_mode
        self._backup = backup
        self._set_context = set_context

    def put(self, wanted: WantedFile) -> FileOutcome:
        """Put one path into its wanted state.

        Raises:
            FilesError: Something of another kind is there, an owner is not known, or the system refuses.
        """
        # A path that ends in a slash would follow a link, and "//" is the root directory too.
        path = "/" + os.path.normpath(wanted.path).lstrip("/")
        if not os.path.isabs(wanted.path) or path == "/":
            raise FilesError("%s: give an absolute path, and not the root directory" % wanted.path)
        put = {"directory": self._directory, "file": self._file, "link": self._link, "absent": self._absent}
        try:
            return put[wanted.state](replace(wanted, path=path))
        except OSError as error:
            raise FilesError(
                "%s cannot be put into the state %s (%s): run the task with become, or check the file system"
                % (path, wanted.state, error.strerror or error)
            )

    def _directory(self, wanted: WantedFile) -> FileOutcome:
        path, kind = wanted.path, _kind(wanted.path)
        if kind == "link" and os.path.isdir(path):
            if os.lstat(path).st_uid not in (0, os.geteuid()):
                raise FilesError(
                    "%s is a link that belongs neither to root nor to the user of this task, and is not followed: "
                    "replace it with a directory" % path
                )
            path, kind = os.path.realpath(path), "directory"
        _refuse_other_kinds(wanted, kind, ("directory",))
        if kind == "directory":
            return self._attributes(wanted, path)
        outcome = FileOutcome(wanted.path, "create", [({"state": "absent"}, wanted.described())])
        if not self._check_mode:
            wanted.ownership.numbers(path)  # a user that does not exist is refused before anything is created
            for directory in reversed(_missing(path)):  # missing parents get the same owner and mode
                os.mkdir(directory)
                wanted.ownership.apply(directory)
                self._set_context(directory)
        return outcome

    def _file(self, wanted: WantedFile) -> FileOutcome:
        kind = _kind(wanted.path)
        _refuse_other_kinds(wanted, kind, ("file", "link"))
        before = _read(wanted.path) if kind == "file" else None
        if before == wanted.content:
            return self._attributes(wanted, wanted.path)
        outcome = FileOutcome(wanted.path, "create" if kind == "absent" else "change")
        if kind == "link":
            outcome.differences.append((_described_link(wanted.path), {"state": "file"}))
        outcome.differences.append(_contents(wanted, before, wanted.content))
        if kind == "file":
            outcome.differences += self._attributes_differ(wanted, wanted.path)
        if not self._check_mode:
            there = os.lstat(wanted.path) if kind == "file" else None
            self._copy_first(wanted, kind, outcome)
            with _renamed_into(wanted.path) as draft:
                with open(draft, "wb") as stream:
                    stream.write(wanted.content)
                    stream.flush()
                    os.fsync(stream.fileno())
                wanted.ownership.apply(draft, default=there)
            self._set_context(wanted.path)
        return outcome

    def _link(self, wanted: WantedFile) -> FileOutcome:
        kind = _kind(wanted.path)
        if kind == "file" and not wanted.force:
            raise FilesError(
                "%s is a file, and a link is wanted there: move it away, or set force: true to replace it" % wanted.path
            )
        _refuse_other_kinds(wanted, kind, ("file", "link"))
        if kind == "link" and os.readlink(wanted.path) == wanted.target:
            return self._attributes(wanted, wanted.path)
        before = _described_link(wanted.path) if kind == "link" else {"state": kind}
        outcome = FileOutcome(wanted.path, "create" if kind == "absent" else "change", [(before, wanted.described())])
        if not self._check_mode:
            self._copy_first(wanted, kind, outcome)
            with _renamed_into(wanted.path) as draft:
                os.symlink(wanted.target, draft)
                wanted.ownership.apply(draft)
            self._set_context(wanted.path)
        return outcome

    def _absent(self, wanted: WantedFile) -> FileOutcome:
        kind = _kind(wanted.path)
        if kind == "absent":
            return FileOutcome(wanted.path)
        before = _described_link(wanted.path) if kind == "link" else {"state": kind}
        outcome = FileOutcome(wanted.path, "remove", [(before, {"state": "absent"})])
        if kind == "file" and wanted.show_content:
            outcome.differences = [_contents(wanted, _read(wanted.path), None)]
        if not self._check_mode:
            self._copy_first(wanted, kind, outcome)
            if kind == "directory":
                shutil.rmtree(wanted.path)
            else:
                os.unlink(wanted.path)
        return outcome

    def _attributes(self, wanted: WantedFile, path: str) -> FileOutcome:
        """Set owner, group, mode and SELinux context of what is there already."""
        outcome = FileOutcome(wanted.path, "none", self._attributes_differ(wanted, path))
        if outcome.differences:
            outcome.action = "attributes"
            if not self._check_mode:
                wanted.ownership.apply(path)
        if self._set_context(path):
            outcome.action = "attributes"
        return outcome

    def _attributes_differ(self, wanted: WantedFile, path: str) -> list[tuple[Any, Any]]:
        before, after = wanted.ownership.differences(path, self._check_mode)
        return [(before, after)] if before else []

    def _copy_first(self, wanted: WantedFile, kind: str, outcome: FileOutcome) -> None:
        if wanted.backup and kind == "file":
            outcome.backup_file = self._backup(wanted.path)


def _kind(path: str) -> str:
    """Return directory, file, link, absent, or "special file" of what is at `path` itself."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def _refuse_other_kinds(wanted: WantedFile, kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in ("absent",) + kinds:
        raise FilesError("%s is a %s, and a %s is wanted there: move it away" % (wanted.path, kind, wanted.state))


def _missing(path: str) -> list[str]:
    """Return `path` and those of its parents that do not exist, the deepest first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


@contextlib.contextmanager
def _renamed_into(path: str) -> Iterator[str]:
    """Give the path of a draft beside `path`, and rename it to `path` when the block ends well; otherwise remove it."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise FilesError(
            "%s cannot be created without the directory %s: list that directory before it" % (path, parent)
        )
    directory = tempfile.mkdtemp(prefix=".ansible-", dir=parent)  # mode 0700: nobody else reads the draft
    try:
        draft = os.path.join(directory, "draft")
        yield draft
        os.rename(draft, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _read(path: str) -> bytes:
    return read_regular(path, follow=False)


def _described_link(path: str) -> dict[str, str]:
    return {"state": "link", "target": os.readlink(path)}


def _contents(wanted: WantedFile, before: bytes | None, after: bytes | None) -> tuple[Any, Any]:
    """Return two contents as a difference shows them. None means no file; what may not be shown is only named."""
    if wanted.show_content:
        return _text(before), _text(after)
    return (
        {"state": "absent"} if before is None else {"state": "file", "content": "not shown"},
        {"state": "absent"} if after is None else {"state": "file", "content": "changed, not shown"},
    )


def _text(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > SHOWN_BYTES or b"\0" in content:
        return "(%d bytes, not shown)\n" % len(content)
    return content.decode("utf-8", "replace")
