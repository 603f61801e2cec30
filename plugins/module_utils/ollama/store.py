# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A models directory of Ollama on this host.

It contains <store>/manifests/<host>/<namespace>/<model>/<tag> and <store>/blobs/sha256-<hex>. Each instance has a store
of its own, and blobs are hard-linked between them: no byte is stored twice, and a delete or a pruning start in one
store cannot take a blob from another (seen on a running server: ollama-behaviour.md 14.17). A running server sees new
files in its store at once. Manifests are written last and atomically, so a run that is killed leaves only blobs that no
manifest names; the next run uses them, or a pruning start deletes them.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile

from ..common import paths
from ..common.names import InvalidName, Name, parse
from ..common.regular import read_regular
from .manifest import MAX_BYTES, Layer, Manifest, ManifestError


class StoreError(Exception):
    """The store cannot be read or changed. The text is one sentence."""


class Store:
    """The store in a directory, which need not exist before something is put into it."""

    def __init__(self, path: str) -> None:
        self.path = os.path.normpath(path)

    def blob_path(self, digest: str) -> str:
        """Return the path of the blob with a digest ("sha256:<hex>")."""
        return paths.blob(self.path, digest)

    def manifest_path(self, name: Name) -> str:
        """Return the path of a manifest, in upper and lower case as the store has it."""
        at = self.path
        for part in name.manifest_path().split("/"):
            exact = os.path.join(at, part)
            if not os.path.lexists(exact) and os.path.isdir(at):
                exact = next(
                    (os.path.join(at, entry) for entry in sorted(os.listdir(at)) if entry.lower() == part.lower()),
                    exact,
                )
            at = exact
        return at

    def manifest(self, name: Name) -> Manifest | None:
        """Return the manifest of a model, None if the store does not have it. Raises StoreError."""
        path = self.manifest_path(name)
        try:
            return Manifest(read_regular(path, MAX_BYTES + 1))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError("cannot read the manifest %s: %s" % (path, error.strerror or error))
        except ManifestError as error:
            raise StoreError("the manifest %s %s; remove it and pull the model again" % (path, error))

    def digest(self, name: Name) -> str:
        """Return the manifest digest of a model. Raises StoreError, also where the store does not have the model."""
        manifest = self.manifest(name)
        if manifest is None:
            raise StoreError("the store %s does not have %s" % (self.path, name))
        return manifest.digest

    def missing(self, manifest: Manifest) -> list[Layer]:
        """Return the layers whose blobs the store does not have in their full size."""
        return [layer for layer in manifest.blobs() if self._size(layer.digest) != layer.size_bytes]

    def complete(self, name: Name) -> Manifest | None:
        """Return the manifest of a model if the store has all its blobs, otherwise None. Raises StoreError."""
        manifest = self.manifest(name)
        return manifest if manifest is not None and not self.missing(manifest) else None

    def names(self) -> list[Name]:
        """Return the names of the models in the store, sorted; like Ollama, leave out invalid names."""
        found = []
        base = paths.manifests(self.path)
        for directory, _directories, files in os.walk(base):
            parts = os.path.relpath(directory, base).split(os.sep)
            if len(parts) != 3:
                continue
            for tag in files:
                try:
                    found.append(parse("%s/%s/%s:%s" % (parts[0], parts[1], parts[2], tag)))
                except InvalidName:
                    continue
        return sorted(found)

    def small_blob(self, layer: Layer, limit: int = 1024 * 1024) -> bytes:
        """Return the bytes of a small blob (parameters, template), at most `limit`. Raises StoreError."""
        try:
            return read_regular(self.blob_path(layer.digest), limit)
        except OSError as error:
            raise StoreError(
                "cannot read the blob %s of the store %s: %s" % (layer.digest[:19], self.path, error.strerror or error)
            )

    def free_bytes(self) -> int | None:
        """Return the free bytes of the store's file system, None where they cannot be read."""
        at = self.path
        while not os.path.isdir(at) and at != os.path.dirname(at):
            at = os.path.dirname(at)
        try:
            space = os.statvfs(at)
        except OSError:
            return None
        return space.f_bavail * space.f_frsize

    def _size(self, digest: str) -> int | None:
        try:
            status = os.lstat(self.blob_path(digest))
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    # -- changing ------------------------------------------------------------------------------------------------------

    def link_from(self, other: Store, name: Name, target: Name | None = None) -> Manifest:
        """Bring a model of another store into this one: hard-link its blobs and copy its manifest, with their owners.

        Args:
            other: the store that has the model.
            name: of the model there.
            target: name of the model here; the same without it.

        Returns:
            The manifest.

        Raises:
            StoreError: also where the stores are not on one file system, because bytes are never copied.
        """
        manifest = other.complete(name)
        if manifest is None:
            raise StoreError("the store %s does not have all of %s" % (other.path, name))
        try:
            owner = os.stat(other.path)
            self._directory(paths.blobs(self.path), owner)
            for layer in manifest.blobs():
                self._link(other.blob_path(layer.digest), self.blob_path(layer.digest))
            path = self.manifest_path(target or name)
            self._directory(os.path.dirname(path), owner)
            self._write(path, manifest.raw, os.stat(other.manifest_path(name)))
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise StoreError(
                    "%s and %s are not on one file system, so blobs cannot be linked between them; "
                    "put both below one models directory" % (other.path, self.path)
                )
            raise StoreError(
                "cannot link %s from %s into %s: %s" % (name, other.path, self.path, error.strerror or error)
            )
        return manifest

    def _directory(self, path: str, owner: os.stat_result) -> None:
        """Create a directory and its missing parents, with the owner of `owner`."""
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            try:
                os.mkdir(directory, 0o755)
            except FileExistsError:
                continue
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(directory, owner.st_uid, owner.st_gid)

    def _link(self, source: str, target: str) -> None:
        """Hard-link `source` to `target`. A target of another size is damaged and is replaced."""
        status = os.lstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(
                "the blob %s is no regular file, so it cannot be linked into another store; "
                "adopt the store that contains the file itself" % source
            )
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            present = os.lstat(target)
            if (present.st_dev, present.st_ino) == (status.st_dev, status.st_ino):
                return
            if stat.S_ISREG(present.st_mode) and present.st_size == status.st_size:
                return  # a blob of the same name and size; the server verifies its content
            temporary = "%s-linking-%d" % (target, os.getpid())
            os.link(source, temporary, follow_symlinks=False)
            os.replace(temporary, target)

    def _write(self, path: str, content: bytes, like: os.stat_result) -> None:
        """Write a file atomically, with the mode and owner of `like`."""
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                os.fchmod(stream.fileno(), stat.S_IMODE(like.st_mode))
                if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(stream.fileno(), like.st_uid, like.st_gid)
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def remove(self, name: Name) -> None:
        """Remove a model and its blobs that no other model of this store uses. Raises StoreError."""
        manifest = self.manifest(name)
        if manifest is None:
            return
        try:
            path = self.manifest_path(name)
            os.unlink(path)
            for _directory in range(3):  # the directories of model, namespace and host, if they are empty now
                path = os.path.dirname(path)
                if os.listdir(path):
                    break
                os.rmdir(path)
            used: set[str] = set()
            for other in self.names():
                kept = self.manifest(other)
                used.update(layer.digest for layer in (kept.blobs() if kept else ()))
            for layer in manifest.blobs():
                if layer.digest not in used and os.path.lexists(self.blob_path(layer.digest)):
                    os.unlink(self.blob_path(layer.digest))
        except OSError as error:
            raise StoreError("cannot remove %s from the store %s: %s" % (name, self.path, error.strerror or error))
