# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read a models directory of Ollama through file descriptors.

What lies in a store belongs to the user of a service, who may put anything there while root reads: below the store's
top directory no link is followed, a FIFO holds nobody, only regular files are read, and what is read is bounded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Iterator
from typing import Callable

from ..common import paths
from ..common.names import InvalidName, Name, parse
from .manifest import MAX_BYTES, Manifest, ManifestError

#: Most entries that are looked at in one pass through a store.
MAX_ENTRIES = 5000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Host, namespace, model and tag: the parts of a manifest's path.
_MANIFEST_PARTS = 4
BLOBS, MANIFESTS = os.path.basename(paths.blobs("")), os.path.basename(paths.manifests(""))

#: inspect(path, status) returns whether an entry of a store may be used; it may raise StoreError.
Inspect = Callable[[str, os.stat_result], bool]


class StoreError(Exception):
    """The store cannot be read or changed. The text is one sentence."""


class BrokenManifest(StoreError):
    """A manifest can be read and is none."""


class OpenStore:
    """The top directory of a store, open. Use it in a `with` statement.

    Args:
        descriptor: of the top directory; closed at the end.
        path: of the store, for sentences.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path

    @classmethod
    def at(cls, path: str, follow: bool = True) -> OpenStore | None:
        """Open a store; None where there is none.

        Args:
            path: of its top directory.
            follow: whether that may be a link, as the models directory of an Ollama that is adopted often is.

        Raises:
            StoreError: it is no directory, or cannot be opened.
        """
        flags = _DIRECTORY & ~os.O_NOFOLLOW if follow else _DIRECTORY
        try:
            return cls(os.open(path, flags), path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unopened(path, error)

    def __enter__(self) -> OpenStore:
        return self

    def __exit__(self, *unused: object) -> None:
        os.close(self.descriptor)

    @contextlib.contextmanager
    def directory(self, *parts: str) -> Iterator[int | None]:
        """Open a directory below the top one, link by no link; None where it is not there.

        Raises:
            StoreError: a part is no directory, or cannot be opened.
        """
        at = os.dup(self.descriptor)
        try:
            for number, part in enumerate(parts):
                inner = _open_directory(part, at, self._path(*parts[: number + 1]))
                if inner is None:
                    yield None
                    return
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)

    @contextlib.contextmanager
    def existing(self, *parts: str) -> Iterator[int]:
        """Open a directory that was there a moment ago.

        Raises:
            StoreError: it is not there any more, or as `directory`.
        """
        with self.directory(*parts) as directory:
            if directory is None:
                raise StoreError("%s was removed during this run; run again" % self._path(*parts))
            yield directory

    def exact(self, name: Name) -> tuple[str, ...]:
        """Return the parts of a manifest's path in upper and lower case as the store has them."""
        found: tuple[str, ...] = ()
        for part in name.manifest_path().split("/")[1:]:
            with self.directory(MANIFESTS, *found) as directory:
                entries = self._names(directory, [MAX_ENTRIES])
            same = sorted(entry for entry in entries if entry.lower() == part.lower())
            found += (part if part in same or not same else same[0],)
        return found

    def manifest(self, name: Name) -> Manifest | None:
        """Return the manifest of a model; None if the store does not have it.

        Raises:
            StoreError: it cannot be read, or is no manifest.
        """
        return self.manifest_at(self.exact(name))

    def manifest_at(self, parts: tuple[str, ...], root: str = MANIFESTS) -> Manifest | None:
        """Return the manifest of a model by the parts of its path below a directory; see `manifest`."""
        raw = self.read(MAX_BYTES + 1, root, *parts)
        if raw is None:
            return None
        try:
            return Manifest(raw)
        except (ManifestError, RecursionError) as error:
            reason = error if isinstance(error, ManifestError) else "is no manifest"
            raise BrokenManifest(
                "the manifest %s %s; remove it and pull the model again" % (self._path(root, *parts), reason)
            )

    def read(self, limit: int, *parts: str) -> bytes | None:
        """Return the bytes of a regular file, at most `limit`; None where it is not there.

        Raises:
            StoreError: it is no regular file, or cannot be read.
        """
        descriptor = self.open_file(*parts)
        if descriptor is None:
            return None
        try:
            with os.fdopen(descriptor, "rb") as stream:
                return stream.read(limit)
        except OSError as error:
            raise StoreError("cannot read %s: %s" % (self._path(*parts), error.strerror or error))

    def open_file(self, *parts: str) -> int | None:
        """Return the descriptor of a regular file, open for reading; None where it is not there.

        Raises:
            StoreError: it is no regular file, or cannot be opened.
        """
        path = self._path(*parts)
        with self.directory(*parts[:-1]) as directory:
            status = status_of(parts[-1], directory) if directory is not None else None
            if status is None:
                return None
            if not stat.S_ISREG(status.st_mode):  # a device may act when it is opened
                raise StoreError(refusal(path, status))
            try:
                descriptor = os.open(parts[-1], _FILE, dir_fd=directory)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _unopened(path, error, parts[-1], directory)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise StoreError(refusal(path, status))
        return descriptor

    def blob(self, digest: str) -> os.stat_result | None:
        """Return the status of a blob, or of what lies in its place; None where there is nothing.

        Raises:
            StoreError: the directory of the blobs cannot be opened.
        """
        with self.directory(BLOBS) as directory:
            return None if directory is None else status_of(blob_name(digest), directory)

    def has_blob(self, digest: str, size_bytes: int) -> bool:
        """Return whether the store has a blob in its full size. Raises StoreError as `blob`."""
        status = self.blob(digest)
        return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size_bytes

    def names(self) -> list[Name]:
        """Return the names of the models, sorted; like Ollama, leave out invalid names.

        Raises:
            StoreError: a directory cannot be read, there is a link or a special file, or the store has more than
                MAX_ENTRIES entries.
        """
        found = []
        for parts in self.tags(refuse_special, [MAX_ENTRIES]):
            with contextlib.suppress(InvalidName):
                found.append(parse("%s/%s/%s:%s" % parts))
        return sorted(found)

    def tags(
        self, inspect: Inspect, left: list[int], above: tuple[str, ...] = (), root: str = MANIFESTS
    ) -> Iterator[tuple[str, ...]]:
        """Yield the parts of the paths of what may be manifests.

        Args:
            inspect: see `Inspect`.
            left: how many more entries may be looked at, in a list so that it counts for further calls.
            above: parts of the directory to begin with.
            root: directory of the store that has them.

        Raises:
            StoreError: see `names`.
        """
        wanted = stat.S_ISREG if len(above) == _MANIFEST_PARTS - 1 else stat.S_ISDIR
        for name, status in self.entries(inspect, left, root, *above):
            if wanted(status.st_mode) and len(above) == _MANIFEST_PARTS - 1:
                yield (*above, name)
            elif wanted(status.st_mode):
                yield from self.tags(inspect, left, (*above, name), root)

    def entries(self, inspect: Inspect, left: list[int], *parts: str) -> list[tuple[str, os.stat_result]]:
        """Return names and statuses of what may be used in a directory; see `tags`."""
        found = []
        with self.directory(*parts) as directory:
            for name in self._names(directory, left):
                status = status_of(name, directory) if directory is not None else None
                if status is not None and inspect(self._path(*parts, name), status):
                    found.append((name, status))
        return found

    def _names(self, directory: int | None, left: list[int]) -> list[str]:
        """Sorted names in an open directory; none where there is no directory."""
        names: list[str] = []
        if directory is None:
            return names
        with os.scandir(directory) as entries:
            for entry in entries:
                left[0] -= 1
                if left[0] < 0:
                    raise StoreError("the store %s has more than %d entries" % (self.path, MAX_ENTRIES))
                names.append(entry.name)
        return sorted(names)

    def _path(self, *parts: str) -> str:
        return "/".join((self.path, *parts))


def blob_name(digest: str) -> str:
    """Return the name of a blob in its directory."""
    return os.path.basename(paths.blob("", digest))


def status_of(name: str, directory: int) -> os.stat_result | None:
    """Return the status of an entry of an open directory, of a link its own; None where there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def refusal(path: str, status: os.stat_result) -> str:
    """Return a sentence about what is neither a directory nor a regular file, or is the other one of them."""
    if stat.S_ISLNK(status.st_mode):
        return (
            "%s is a symbolic link, and links in a store are not followed: put what it leads to in its place, or "
            "remove it" % path
        )
    if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a file"
        return "%s is %s, where Ollama has none: move it away" % (path, kind)
    kinds = {stat.S_ISFIFO: "a FIFO", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    kind = next((kind for check, kind in kinds.items() if check(status.st_mode)), "a special file")
    return "%s is %s, and a store has only directories and files: remove it" % (path, kind)


def refuse_special(path: str, status: os.stat_result) -> bool:
    """Refuse whatever is neither a directory nor a regular file (see `Inspect`)."""
    if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
        return True
    raise StoreError(refusal(path, status))


def foreign(path: str, status: os.stat_result, user: str) -> str:
    """Return a sentence about what belongs to another user than that of the store."""
    return "%s belongs to %s and not to %s: look at it, then remove it or give it to %s with chown -h %s %s" % (
        path,
        user_name(status.st_uid),
        user,
        user,
        user,
        path,
    )


def user_name(uid: int) -> str:
    """Return the name of a user, "uid N" where the host has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid %d" % uid


def _open_directory(name: str, parent: int, path: str) -> int | None:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unopened(path, error, name, parent)


def _unopened(path: str, error: OSError, name: str | None = None, directory: int | None = None) -> StoreError:
    """Why something cannot be opened."""
    status = None
    with contextlib.suppress(OSError):
        status = os.stat(name or path, dir_fd=directory, follow_symlinks=False)
    if status is not None and error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV):
        return StoreError(refusal(path, status))
    if status is not None and error.errno == errno.EACCES:
        return StoreError(
            "%s belongs to %s and may not be read by %s: allow it with chmod -R o+rX %s"
            % (path, user_name(status.st_uid), user_name(os.geteuid()), path)
        )
    return StoreError("cannot open %s: %s" % (path, error.strerror or error))
