# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put a release in its place: by one rename, with a marker inside.

A run that is killed at any point leaves the release as it was, or none, and directories that the next run removes.
Nothing here is run as root that came with the archive.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..common import paths
from ..common.regular import read_regular
from . import release_archive
from .as_user import Account
from .program_as_user import ProgramError, ask_as
from .release_archive import ArchiveError, Unpacked

#: Beside the releases: what is downloaded, what is unpacked, and a release of the same version that is replaced.
DOWNLOAD, UNPACK, REPLACED = ".download", ".unpack", ".replaced"
_VERSION = re.compile(r"(?:ollama|client) version is (\S+)")
_MOST_MARKER = 64 * 1024


@dataclass(frozen=True)
class Release:
    """A release that is wanted.

    Attributes:
        version: such as 0.32.15.
        checksum: SHA-256 of its archive, or the address of a sha256sum.txt; the marker holds it.
        parent: Directory of all releases.
    """

    version: str
    checksum: str
    parent: str = paths.RELEASES

    @property
    def directory(self) -> str:
        """Directory of this release."""
        return os.path.join(self.parent, self.version)

    @property
    def archive(self) -> str:
        """Where its archive is put."""
        return os.path.join(self.parent, DOWNLOAD, "archive")

    def installed(self) -> str | None:
        """Return the checksum that the release was installed with; None where it is not there completely."""
        try:
            marker = read_regular(os.path.join(self.directory, paths.RELEASE_MARKER), _MOST_MARKER, follow=False)
            checksum = json.loads(marker.decode("utf-8"))["checksum"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return checksum if isinstance(checksum, str) else None


@contextlib.contextmanager
def prepared(release: Release) -> Iterator[None]:
    """Make the directories of an installation, and take away what it leaves behind, however the block ends.

    After a failure, the directories that were not there before are gone too.

    Raises:
        ArchiveError: Others than root can change what is in the directory.
        OSError: The system refuses.
    """
    made = _missing(release.parent)
    for path in made:
        _make(path, 0o755)
    _check_owner(release.parent)
    for name in sorted(os.listdir(release.parent)):
        killed = name.startswith(".") or replace(release, version=name).installed() is None
        if killed and name != DOWNLOAD:  # a download that was complete is used again
            _remove(os.path.join(release.parent, name))
    download = os.path.join(release.parent, DOWNLOAD)
    if not os.path.lexists(download):
        _make(download, 0o700)
    try:
        yield
    except BaseException:
        _clean(release)
        for path in reversed(made):
            with contextlib.suppress(OSError):  # something else was put there meanwhile
                os.rmdir(path)
        raise
    _clean(release)


def install(release: Release, user: Account) -> Unpacked:
    """Unpack the archive of a release, ask its program for its version, and put it in its place.

    Args:
        release: its archive has been verified; inside `prepared`.
        user: who runs what came with the archive.

    Raises:
        ArchiveError: The archive is refused, or it is another release. The text is a phrase.
        OSError: The system refuses.
    """
    draft = os.path.join(release.parent, UNPACK)
    _make(draft, 0o700)
    unpacked = release_archive.unpack(release.archive, draft, user)
    os.chmod(draft, 0o755)
    _check_version(os.path.join(draft, "bin/ollama"), release.version, user)
    marker = os.open(os.path.join(draft, paths.RELEASE_MARKER), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(marker, "w") as stream:
        content = {"checksum": release.checksum, "version": release.version}
        stream.write(json.dumps(content, indent=4, sort_keys=True) + "\n")
        os.fchmod(stream.fileno(), 0o644)
        stream.flush()
        os.fsync(stream.fileno())
    if os.path.lexists(release.directory):  # of another archive
        os.rename(release.directory, os.path.join(release.parent, REPLACED))
    os.rename(draft, release.directory)
    return unpacked


def _missing(path: str) -> list[str]:
    """Return a directory and those of its parents that are not there, parents first."""
    missing: list[str] = []
    while not os.path.lexists(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    return missing


def _check_owner(path: str) -> None:
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ArchiveError("%s is not a directory that root alone can change: move it away" % path)


def _check_version(program: str, wanted: str, user: Account) -> None:
    if not os.path.isfile(program):
        raise ArchiveError("the archive has no program bin/ollama")
    try:
        text = ask_as(user, [program, "--version"])
    except ProgramError as error:
        raise ArchiveError("the archive's program %s" % error)
    # With a server on the host, its version comes first, and that of the program only where it is another one.
    told = _VERSION.findall(text)
    if not told:
        raise ArchiveError("the archive's program says no version, but %s" % ascii(text.strip()[:200]))
    if told[-1] != wanted:
        raise ArchiveError("the archive's program says that its version is %s" % ascii(told[-1][:40]))


def _make(path: str, mode: int) -> None:
    os.mkdir(path, 0o700)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    os.chmod(path, mode)


def _clean(release: Release) -> None:
    for name in (DOWNLOAD, UNPACK, REPLACED):
        _remove(os.path.join(release.parent, name))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
