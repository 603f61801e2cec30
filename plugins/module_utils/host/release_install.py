# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put a release in its place: by one rename, with a marker inside.

A run that is killed at any point leaves the release as it was, or none, and directories that the next run removes.
Nothing here is run as root that came with the archive.

One process at a time installs: a run whose connection was cut goes on here while the next one begins, and each would
take away what the other unpacks. Each holds the directory of the releases by flock, which the kernel releases when the
process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..common import paths
from ..common.json_text import json_text
from ..common.regular import read_regular
from . import release_archive
from .as_user import Account
from .program_as_user import ProgramError, ask_as
from .release_archive import ArchiveError, Unpacked

#: Beside the releases: what is downloaded, what is unpacked, and a release of the same version that is replaced.
DOWNLOAD, UNPACK, REPLACED = ".download", ".unpack", ".replaced"
_VERSION = re.compile(r"(?:ollama|client) version is (\S+)")
_MOST_MARKER = 64 * 1024
#: Seconds that another process is waited for: for an archive of 2 GB by a slow line, and its unpacking.
PATIENCE = 900.0
_LOOK_SECONDS = 0.2


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
def prepared(release: Release, patience: float = PATIENCE) -> Iterator[None]:
    """Make the directories of an installation, and take away what it leaves behind, however the block ends.

    No other process is in such a block for the same directory: `installed` may say something else inside than before.
    After a failure, the directories that were not there before are gone too.

    Args:
        release: what will be installed.
        patience: seconds to wait until another process has ended its installation.

    Raises:
        ArchiveError: Others than root can change what is in the directory, or another process goes on for too long.
        OSError: The system refuses.
    """
    with _alone(release.parent, patience):
        try:
            _clear(release)
            yield
        except BaseException as error:
            _clean(release, keep_download=getattr(error, "keeps_download", False))
            raise
        _clean(release)


@contextlib.contextmanager
def _alone(path: str, patience: float) -> Iterator[None]:
    """Hold a directory as the only process. It is made where it is missing, and taken away where the block fails."""
    made: list[str] = []
    held = None
    deadline = time.monotonic() + patience
    try:
        while held is None:
            held = _hold(path, made)
            if held is None and time.monotonic() > deadline:
                raise ArchiveError(
                    "another process has been installing a release in %s for %d seconds: wait until it is done, or end "
                    "it, and run again" % (path, patience)
                )
            if held is None:
                time.sleep(_LOOK_SECONDS)
        yield
    except BaseException:
        for directory in reversed(made):
            with contextlib.suppress(OSError):  # something else was put there meanwhile
                os.rmdir(directory)
        raise
    finally:
        if held is not None:
            os.close(held)


def _hold(path: str, made: list[str]) -> int | None:
    """Return the open directory with a lock on it; None where another process has it, or took it away meanwhile.

    Args:
        path: of the directory.
        made: the directories that this process has made are added.
    """
    for missing in _missing(path):
        try:
            _make(missing, 0o755)
        except FileExistsError:  # another process makes them too
            return None
        except FileNotFoundError:
            if os.path.lexists(os.path.dirname(missing)):
                raise
            return None  # another process has failed and taken its directories away
        made.append(missing)
    try:
        _check_owner(path)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, there = os.fstat(directory), os.lstat(path)
        if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino):
            return directory
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(directory)
    return None


def _clear(release: Release) -> None:
    """Remove what killed runs have left, but no download: the next one goes on where it stopped."""
    for name in sorted(os.listdir(release.parent)):
        killed = name.startswith(".") or replace(release, version=name).installed() is None
        if killed and name != DOWNLOAD:
            _remove(os.path.join(release.parent, name))
    download = os.path.join(release.parent, DOWNLOAD)
    if not os.path.lexists(download):
        _make(download, 0o700)


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
        stream.write(json_text(content))
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


def _clean(release: Release, keep_download: bool = False) -> None:
    """Remove what an installation leaves behind; with `keep_download` not what came of the archive, if anything did."""
    kept = keep_download and os.path.isfile(release.archive) and os.path.getsize(release.archive) > 0
    for name in (UNPACK, REPLACED) if kept else (DOWNLOAD, UNPACK, REPLACED):
        _remove(os.path.join(release.parent, name))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
