# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put directories, files and links in place on a host, or remove them, where what is there differs from what is wanted.

Everything is put in place by a rename, with owner and mode already set: at no moment can anybody read half a file, or a
file with secrets that has the mode of the umask. Nothing that exists is given to another owner: a file is replaced by a
new one, a directory is refused. Nothing is done where others could exchange what root works on (places.py). A link is
not followed, with one exception: a directory may be a link that belongs to root or to the user of this process.
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
from ..common.shown_text import shown_difference
from . import places
from .ownership import FilesError, Ownership, set_mode
from .trees import in_directory_of_services, remove_as_service, remove_tree

#: Longest content that a difference shows, in bytes.
SHOWN_BYTES = 100 * 1024

#: Mode of missing parents of a directory.
_PARENT_MODE = 0o755
#: How the directories are named in which drafts are made; a run that was killed may leave one.
DRAFTS = ".ansible-"
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
        only_empty: Whether only an empty directory is removed, and everything else is left.
    """

    path: str
    state: str = "file"
    content: bytes = b""
    target: str = ""
    ownership: Ownership = Ownership()
    backup: bool = False
    show_content: bool = True
    force: bool = False
    only_empty: bool = False

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
            FilesError: Something of another kind or owner is there, the place is not safe, an owner is not known, or
                the system refuses.
        """
        # A path that ends in a slash would follow a link, and "//" is the root directory too.
        path = "/" + os.path.normpath(wanted.path).lstrip("/")
        if not os.path.isabs(wanted.path) or path == "/":
            raise FilesError("%s: give an absolute path, and not the root directory" % wanted.path)
        put = {"directory": self._directory, "file": self._file, "link": self._link, "absent": self._absent}
        try:
            if wanted.only_empty and places.problem(path):
                return FileOutcome(path)
            store = in_directory_of_services(path) if wanted.state == "absent" else None
            if store is not None:
                return self._absent_in_store(store, path)
            place = os.path.join(places.safe_parent(path), os.path.basename(path))
            outcome = put[wanted.state](replace(wanted, path=place))
            return replace(outcome, path=path)
        except OSError as error:
            raise FilesError(
                "%s cannot be put into the state %s (%s): run the task with become, or check the file system"
                % (path, wanted.state, error.strerror or error)
            )

    def _directory(self, wanted: WantedFile) -> FileOutcome:
        path, kind = wanted.path, _kind(wanted.path)
        if kind == "link":
            path = places.safe_parent(os.path.join(path, "x"))
            kind = "directory"
        _refuse_other_kinds(wanted, kind, ("directory",))
        if kind == "directory":
            return self._kept_directory(wanted, path)
        outcome = FileOutcome(path, "create", [({"state": "absent"}, wanted.described())])
        if not self._check_mode:
            wanted.ownership.numbers(path)  # a user that does not exist is refused before anything is created
            for directory in reversed(_missing(path)):
                # A parent of a service's directory is never the service's.
                ownership = wanted.ownership if directory == path else Ownership(mode=_PARENT_MODE)
                with _renamed_into(directory) as draft:
                    os.mkdir(draft)
                    ownership.give(draft)
                self._set_context(directory)
        return outcome

    def _kept_directory(self, wanted: WantedFile, path: str) -> FileOutcome:
        """Set the mode of a directory that exists. One of another owner is refused: who knows what is in it."""
        before, after = wanted.ownership.differences(path, self._check_mode)
        for key, remedy in (("owner", "chown"), ("group", "chgrp")):
            if key in before:
                raise FilesError(
                    "%s exists and its %s is %s, not %s: move it away, or change it yourself after a look at what is "
                    "in it (%s %s %s)" % (path, key, before[key], after[key], remedy, after[key], path)
                )
        return self._attributes(wanted, path)

    def _file(self, wanted: WantedFile) -> FileOutcome:
        kind = _kind(wanted.path)
        _refuse_other_kinds(wanted, kind, ("file", "link"))
        before = _read(wanted.path) if kind == "file" else None
        attributes = self._attributes_differ(wanted, wanted.path) if kind == "file" else []
        same = before == wanted.content
        if same and not _another_owner(attributes):
            return self._attributes(wanted, wanted.path)
        outcome = FileOutcome(wanted.path, "create" if kind == "absent" else "attributes" if same else "change")
        if kind == "link":
            outcome.differences.append((_described_link(wanted.path), {"state": "file"}))
        if not same:
            outcome.differences.append(_contents(wanted, before, wanted.content))
        outcome.differences += attributes
        if not self._check_mode:
            there = os.lstat(wanted.path) if kind == "file" else None
            self._copy_first(wanted, kind, outcome)
            with _renamed_into(wanted.path) as draft:
                with open(draft, "wb") as stream:
                    stream.write(wanted.content)
                    stream.flush()
                    os.fsync(stream.fileno())
                wanted.ownership.give(draft, default=there)
            self._set_context(wanted.path)
        return outcome

    def _link(self, wanted: WantedFile) -> FileOutcome:
        kind = _kind(wanted.path)
        if kind == "file" and not wanted.force:
            raise FilesError(
                "%s is a file, and a link is wanted there: move it away, or set force: true to replace it" % wanted.path
            )
        _refuse_other_kinds(wanted, kind, ("file", "link"))
        attributes = self._attributes_differ(wanted, wanted.path) if kind == "link" else []
        if kind == "link" and os.readlink(wanted.path) == wanted.target:
            if not attributes:
                return self._attributes(wanted, wanted.path)
            outcome = FileOutcome(wanted.path, "attributes", attributes)
        else:
            before = _described_link(wanted.path) if kind == "link" else {"state": kind}
            action = "create" if kind == "absent" else "change"
            outcome = FileOutcome(wanted.path, action, [(before, wanted.described())])
        if not self._check_mode:
            self._copy_first(wanted, kind, outcome)
            with _renamed_into(wanted.path) as draft:
                os.symlink(wanted.target, draft)
                wanted.ownership.give(draft)
            self._set_context(wanted.path)
        return outcome

    def _absent(self, wanted: WantedFile) -> FileOutcome:
        kind = _kind(wanted.path)
        if kind == "absent" or wanted.only_empty and not (kind == "directory" and _is_empty(wanted.path)):
            return FileOutcome(wanted.path)
        before = _described_link(wanted.path) if kind == "link" else {"state": kind}
        outcome = FileOutcome(wanted.path, "remove", [(before, {"state": "absent"})])
        if kind == "file" and wanted.show_content:
            outcome.differences = [_contents(wanted, _read(wanted.path), None)]
        if not self._check_mode:
            self._copy_first(wanted, kind, outcome)
            if kind == "directory":
                _remove_directory(wanted)
            else:
                os.unlink(wanted.path)
        return outcome

    def _absent_in_store(self, store: str, path: str) -> FileOutcome:
        """Remove what lies in the store of a service, as its user."""
        places.safe_parent(store)
        if self._check_mode:
            there = os.path.lexists(path)
        else:
            there = remove_as_service(store, path)
        if not there:
            return FileOutcome(path)
        return FileOutcome(path, "remove", [({"state": "present"}, {"state": "absent"})])

    def _attributes(self, wanted: WantedFile, path: str) -> FileOutcome:
        """Set mode and SELinux context of what is there already; its owner and group are as wanted."""
        outcome = FileOutcome(wanted.path, "none", self._attributes_differ(wanted, path))
        if outcome.differences:
            outcome.action = "attributes"
            if not self._check_mode and wanted.ownership.mode is not None:
                set_mode(path, wanted.ownership.mode)
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


def _another_owner(differences: list[tuple[Any, Any]]) -> bool:
    return any(key in before for before, _after in differences for key in ("owner", "group"))


def _is_empty(path: str) -> bool:
    """Whether nothing is in a directory but drafts, and it is no file system of its own."""
    return not os.path.ismount(path) and all(map(_is_draft, os.listdir(path)))


def _is_draft(name: str) -> bool:
    return name.startswith(DRAFTS)


def _remove_directory(wanted: WantedFile) -> None:
    if not wanted.only_empty:
        remove_tree(wanted.path)
        return
    for draft in filter(_is_draft, os.listdir(wanted.path)):
        remove_tree(os.path.join(wanted.path, draft))
    os.rmdir(wanted.path)


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
    directory = tempfile.mkdtemp(prefix=DRAFTS, dir=parent)  # mode 0700: nobody else reads the draft
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
    """Return two contents as a difference shows them, without secret values. None means no file; what may not be shown
    is only named."""
    if wanted.show_content:
        return shown_difference(_text(before), _text(after))
    return (
        {"state": "absent"} if before is None else {"state": "file", "content": "not shown"},
        {"state": "absent"}
        if after is None
        else {"state": "file", "content": "not shown" if before is None else "changed, not shown"},
    )


def _text(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > SHOWN_BYTES or b"\0" in content:
        return "(%d bytes, not shown)\n" % len(content)
    return content.decode("utf-8", "replace")
