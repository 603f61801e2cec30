# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Unpack the archive of a release (a tar file packed with zstd) as root, into a directory that nobody else reaches.

An archive may be anything that its server likes. So only what Ollama's archives consist of is unpacked: regular files,
directories, hard links to files that were unpacked before, and symbolic links that are relative and stay inside.
Nothing is written through a link. Everything belongs to root and has the mode 0755, or 0644 for a file that nobody may
execute. Everything else is refused with the name of the member.

zstd itself runs as another user than root, and gets nothing but the open file.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..common.regular import open_regular
from ..common.sizes import gib
from .as_user import Account
from .child import LOOK, is_stopped
from .command import PROGRAM_PATH
from .program_as_user import kill, start_as

#: Real archives have below a thousand members (0.5.4: 47, 0.35: some 200), of which the largest files are
#: libggml-cuda.so (1.5 GB) and libcublasLt.so (0.7 GB). They take 1.1 to 2 GB packed and 3.5 to 8 GB unpacked
#: (ollama/ollama pull requests 5631 and 13651, issue 8234).
MOST_MEMBERS = 20 * 1000
MOST_FILE_BYTES = 8 * 1024**3
MOST_BYTES = 32 * 1024**3
#: Bytes of zeros after the end mark: tar fills up its last record, which has 10 KiB unless it was told otherwise.
_MOST_PADDING = 16 * 1024**2
#: Bytes of a long name, or of a member's extended attributes: they are read into memory.
_MOST_HEADER = 64 * 1024
_LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_CHUNK = 1024 * 1024
_SHOWN = 120


class ArchiveError(Exception):
    """An archive that is not unpacked. The text is a phrase ("the archive is damaged: ...")."""


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked: the number of members, and the bytes of their files together."""

    members: int
    size_bytes: int


def unpack(archive: str, directory: str, user: Account) -> Unpacked:
    """Unpack an archive.

    Args:
        archive: the file.
        directory: an empty directory of root that nobody else may enter.
        user: who runs zstd.

    Raises:
        ArchiveError: The archive is refused, damaged or cut short, or zstd is missing. A part may be unpacked.
        OSError: The system refuses, for instance because the disk is full.
    """
    tree = _Tree(directory)
    with _unpacked_stream(archive, user) as stream:
        source: Any = stream
        try:
            with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK, tarinfo=_Member) as members:
                for member in members:
                    tree.add(member, members)
        except (tarfile.TarError, ValueError) as error:  # tarfile reads the map of a sparse file without a check
            raise ArchiveError("the archive is damaged: %s" % error)
        stream.skip_padding()
    return Unpacked(tree.members, tree.size_bytes)


class _Member(tarfile.TarInfo):
    """A member whose header is read strictly: by itself, tarfile takes a damaged header for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        """Return the member of a header's 512 bytes. Raises ArchiveError where they are none."""
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the mark of the end
        except tarfile.HeaderError as error:
            raise ArchiveError("the archive is damaged or cut short: %s" % error)
        if member.type in _LONG_HEADERS and not 0 <= member.size <= _MOST_HEADER:
            raise ArchiveError("the archive has a header of %d bytes, more than %d" % (member.size, _MOST_HEADER))
        return member


class _Stream:
    """The output of zstd, as tarfile reads it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._output: Any = process.stdout
        self._pid = process.pid
        self._left = MOST_BYTES + MOST_MEMBERS * 2 * _MOST_HEADER

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        while not select.select([self._output], [], [], LOOK)[0]:
            if is_stopped(self._pid):
                raise ArchiveError("a signal stopped zstd")
        data = os.read(self._output.fileno(), size)
        self._left -= len(data)
        if self._left < 0:
            raise ArchiveError("the archive is larger than %s" % gib(MOST_BYTES))
        return data

    def skip_padding(self) -> None:
        """Read to the end, so that zstd can say whether all of its file was right."""
        skipped = 0
        while skipped <= _MOST_PADDING:
            data = self.read(_CHUNK)
            if not data:
                return
            skipped += len(data)
        raise ArchiveError("the archive goes on after its end")


@contextlib.contextmanager
def _unpacked_stream(archive: str, user: Account) -> Iterator[_Stream]:
    """Give the bytes of the tar file. Raises ArchiveError where zstd finds fault with its file."""
    zstd = shutil.which("zstd", path=PROGRAM_PATH)
    if zstd is None:
        raise ArchiveError("the program zstd is missing on the host: install the package zstd")
    with open_regular(archive, follow=False) as file:
        try:
            process = start_as(user, [zstd, "-dc"], stdin=file)
        except subprocess.SubprocessError as error:
            raise ArchiveError("zstd cannot be started as the user %s: %s" % (user.name, error))
        try:
            try:
                yield _Stream(process)
            except ArchiveError as error:
                # What zstd delivers of a damaged file ends in the middle; its own reason is nearer to the cause.
                if "damaged" in str(error) and process.wait(10) > 0:
                    raise ArchiveError("the archive is damaged or cut short (zstd finds an error in it)")
                raise
            if process.wait(10) != 0:
                raise ArchiveError("the archive is damaged or cut short (zstd finds an error in it)")
        except subprocess.TimeoutExpired:
            raise ArchiveError("zstd does not end")
        finally:
            kill(process)


class _Tree:
    """The directory that is filled. `members` and `size_bytes` count what is in it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._kinds: dict[tuple[str, ...], str] = {(): "directory"}
        self.members = 0
        self.size_bytes = 0

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Unpack one member. Raises ArchiveError where it is refused."""
        self.members += 1
        if self.members > MOST_MEMBERS:
            raise ArchiveError("the archive has more than %d members" % MOST_MEMBERS)
        parts = _parts(member.name)
        kind = _kind(member)
        if member.mode & 0o7000:
            raise _refused(member, "has the mode %04o, with a set-id or sticky bit" % member.mode)
        there = self._kinds.get(parts)
        if there is not None and not there == kind == "directory":
            raise _refused(member, "is in it twice")
        if there is None:
            self._make_parents(member, parts)
            getattr(self, "_add_" + kind)(member, parts, archive)
            self._kinds[parts] = kind

    def _make_parents(self, member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
        """Make the directories that a member is in and that are no members themselves."""
        for depth in range(1, len(parts)):
            parent = parts[:depth]
            there = self._kinds.get(parent)
            if there is None:
                self._make_directory(parent)
            elif there != "directory":
                raise _refused(member, "goes through %s, which is a %s" % ("/".join(parent), there))

    def _add_directory(self, _member: tarfile.TarInfo, parts: tuple[str, ...], _archive: tarfile.TarFile) -> None:
        self._make_directory(parts)

    def _make_directory(self, parts: tuple[str, ...]) -> None:
        path = self._path(parts)
        os.mkdir(path, 0o700)
        _own(path)
        os.chmod(path, 0o755)
        self._kinds[parts] = "directory"

    def _add_file(self, member: tarfile.TarInfo, parts: tuple[str, ...], archive: tarfile.TarFile) -> None:
        self.size_bytes += member.size
        if not 0 <= member.size <= MOST_FILE_BYTES:
            raise _refused(member, "has %d bytes, more than %s" % (member.size, gib(MOST_FILE_BYTES)))
        if self.size_bytes > MOST_BYTES:
            raise ArchiveError("the archive has files of more than %s together" % gib(MOST_BYTES))
        source: Any = archive.extractfile(member)
        descriptor = os.open(self._path(parts), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            _own(stream.fileno())
            shutil.copyfileobj(source, stream, _CHUNK)
            os.fchmod(stream.fileno(), 0o755 if member.mode & 0o111 else 0o644)

    def _add_link(self, member: tarfile.TarInfo, parts: tuple[str, ...], _archive: tarfile.TarFile) -> None:
        target = member.linkname
        if not _stays_inside(target, len(parts) - 1):
            raise _refused(member, "points to %s, which is not inside the archive" % _shown(target))
        path = self._path(parts)
        os.symlink(target, path)
        _own(path)

    def _add_hard_link(self, member: tarfile.TarInfo, parts: tuple[str, ...], _archive: tarfile.TarFile) -> None:
        target = _parts(member.linkname)
        if self._kinds.get(target) not in ("file", "hard_link"):
            raise _refused(member, "is a hard link to %s, which is no file before it" % _shown(member.linkname))
        os.link(self._path(target), self._path(parts), follow_symlinks=False)

    def _path(self, parts: tuple[str, ...]) -> str:
        return os.path.join(self._directory, *parts)


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a name, () for the top directory. Raises ArchiveError where it may lead elsewhere."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or not name or not name.isprintable():
        raise ArchiveError("the archive's member %s is refused: its name leads elsewhere" % _shown(name))
    return parts


def _kind(member: tarfile.TarInfo) -> str:
    """Return directory, file, link or hard_link. Raises ArchiveError for everything else."""
    if member.isdir():
        return "directory"
    if member.issym():
        return "link"
    if member.islnk():
        return "hard_link"
    if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
        return "file"
    names = {
        tarfile.FIFOTYPE: "a FIFO",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.GNUTYPE_SPARSE: "a sparse file",
    }
    raise _refused(member, "is %s" % names.get(member.type, "neither a file nor a directory nor a link"))


def _stays_inside(target: str, depth: int) -> bool:
    """Return whether the target of a link leads nowhere but into the tree.

    The parents of a link are real directories, so each `..` at the start goes up by one of them. Behind a name, `..`
    could go up from wherever another link leads.

    Args:
        target: text of the link.
        depth: number of directories that the link is in.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return bool(target) and target.isprintable() and target[0] != "/" and ups <= depth and ".." not in parts[ups:]


def _own(place: str | int) -> None:
    """Give what was made to root, also where the parent hands its group down."""
    if os.geteuid() == 0:
        os.chown(place, 0, 0, follow_symlinks=isinstance(place, int))  # a descriptor is no link


def _refused(member: tarfile.TarInfo, why: str) -> ArchiveError:
    return ArchiveError("the archive's member %s is refused: it %s" % (_shown(member.name), why))


def _shown(name: str) -> str:
    return ascii(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
