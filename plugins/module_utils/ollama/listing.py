# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models the stores on a host hold, read without a server.

What lies in a store belongs to the service user, and this runs as root: no link inside a store is followed, only
regular files are read, and what is read is bounded. Of blobs only the size is looked at.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Iterable

from ..common import paths
from ..common.names import InvalidName, parse
from .manifest import MAX_BYTES, Manifest, ManifestError

#: Most entries of one store's directories, and most bytes of its manifests. A store with more is not listed.
MAX_ENTRIES = 2000
MAX_TOTAL_BYTES = 2 * MAX_BYTES
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


def list_stores(stores: Iterable[str], models_dir: str) -> dict[str, dict[str, Any]]:
    """Return what stores hold.

    Args:
        stores: models directories of Ollama, which need not exist.
        models_dir: the directory that the instances' stores are in.

    Returns:
        {path: {same_file_system, models}}: whether models can be linked between the store and `models_dir`, and the
        models as `list_models` returns them.
    """
    there = _device(models_dir)
    return {
        path: {"same_file_system": _device(path) == there, "models": list_models(path)}
        for path in dict.fromkeys(os.path.normpath(store) for store in stores)
    }


def list_models(store: str) -> list[dict[str, str]] | None:
    """Return the models that a store has with all their blobs.

    Returns:
        [{name, digest}], sorted by name, the digest as "sha256:<hex>"; None where that cannot be known: the store
        cannot be read, contains links in place of directories or manifests, or is larger than the bounds above.
    """
    try:
        return sorted(_Listing().read(store), key=lambda model: model["name"])
    except (OSError, _Unknown):
        return None


class _Unknown(Exception):
    """What the store holds cannot be known."""


class _Listing:
    """One pass through a store, with what is left of its bounds."""

    def __init__(self) -> None:
        self.entries = MAX_ENTRIES
        self.bytes = MAX_TOTAL_BYTES

    def read(self, store: str) -> list[dict[str, str]]:
        try:
            # The store itself may be a link, as the models directory of an Ollama that is adopted often is.
            top = os.open(store, _DIRECTORY & ~os.O_NOFOLLOW)
        except FileNotFoundError:
            return []
        try:
            blobs = self._open_directory(os.path.basename(paths.blobs(store)), top)
            if blobs is None:
                return []
            try:
                manifests = self._open_directory(os.path.basename(paths.manifests(store)), top)
                return [] if manifests is None else self._below(manifests, (), blobs)
            finally:
                os.close(blobs)
        finally:
            os.close(top)

    def _open_directory(self, name: str, parent: int) -> int | None:
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return None

    def _below(self, directory: int, parts: tuple[str, ...], blobs: int) -> list[dict[str, str]]:
        """The models below an open directory, which is closed; `parts` are host, namespace and model so far."""
        found = []
        try:
            for name, kind in self._names(directory):
                if len(parts) == 3 and kind == "file":
                    found += self._model(directory, parts, name, blobs)
                elif len(parts) < 3 and kind == "directory":
                    inner = self._open_directory(name, directory)
                    found += [] if inner is None else self._below(inner, (*parts, name), blobs)
        finally:
            os.close(directory)
        return found

    def _names(self, directory: int) -> list[tuple[str, str]]:
        """Names and kinds (file, directory, other) in an open directory."""
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                self.entries -= 1
                if self.entries < 0 or entry.is_symlink():
                    raise _Unknown
                is_directory = entry.is_dir(follow_symlinks=False)
                is_file = entry.is_file(follow_symlinks=False)
                found.append((entry.name, "directory" if is_directory else "file" if is_file else "other"))
        return found

    def _model(self, directory: int, parts: tuple[str, ...], tag: str, blobs: int) -> list[dict[str, str]]:
        """The model of a manifest: none where it is no valid one, or where a blob is missing."""
        try:
            name = parse("%s/%s/%s:%s" % (*parts, tag))
            manifest = Manifest(self._bytes(tag, directory))
        except (InvalidName, ManifestError, RecursionError):
            return []
        if any(
            _size(os.path.basename(paths.blob("", one.digest)), blobs) != one.size_bytes for one in manifest.blobs()
        ):
            return []
        return [{"name": str(name), "digest": manifest.digest}]

    def _bytes(self, name: str, directory: int) -> bytes:
        descriptor = os.open(name, _FILE, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _Unknown
            content = stream.read(self.bytes + 1)
        self.bytes -= len(content)
        if self.bytes < 0:
            raise _Unknown
        return content


def _size(name: str, directory: int) -> int | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _device(path: str) -> int:
    """Number of the file system that holds `path`, or its nearest parent that exists."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return os.stat(path).st_dev
