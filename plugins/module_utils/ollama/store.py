# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A models directory of Ollama on this host.

It contains <store>/manifests/<host>/<namespace>/<model>/<tag> and <store>/blobs/sha256-<hex>. Each instance has a store
of its own, and blobs are hard-linked between them: no byte is stored twice, and a delete or a pruning start in one
store cannot take a blob from another (seen on a running server). A running server sees new
files in its store at once. Manifests are written last and atomically, so a run that is killed leaves only blobs that no
manifest names; the next run uses them, or a pruning start deletes them.

Root reads in a store (store_directory.py), and never changes anything there: that is done as the user that the store
belongs to (store_changes.py and others), by one child process for each change.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable

from ..common import paths
from ..common.names import Name
from ..host import as_user
from ..host.file_system import available
from . import partial_downloads, store_aliases, store_changes, store_kept, store_own
from .manifest import Layer, Manifest
from .store_directory import BLOBS, MANIFESTS, OpenStore, StoreError, blob_name, status_of
from .store_owner import nearest, worker
from .store_pulled import GIVEN, PULLED, pulled_manifest, side_path

#: Ends of the names of blobs that are not complete: downloads of Ollama (server/download.go), and of this collection.
_BEGUN = ("-partial", store_own.UNCOMPLETED)

__all__ = ["Store", "StoreError", "Brought"]


@dataclass(frozen=True)
class Brought:
    """How a model comes, or came, from another store: bytes of the blobs that were missing, by the way they come."""

    linked_bytes: int = 0
    copied_bytes: int = 0

    @property
    def action(self) -> str:
        """The kind of change: "copy" where bytes are copied, otherwise "link"."""
        return "copy" if self.copied_bytes else "link"


class Store:
    """The store in a directory, which need not exist before something is put into it.

    Args:
        path: of the directory.
        user: the user that changes it and that it must belong to; None for its owner, whoever that is.
    """

    def __init__(self, path: str, user: str | None = None) -> None:
        self.path = os.path.normpath(path)
        self.user = user

    def blob_path(self, digest: str) -> str:
        """Return the path of the blob with a digest ("sha256:<hex>")."""
        return paths.blob(self.path, digest)

    def manifest_path(self, name: Name) -> str:
        """Return the path that a manifest gets where the store does not have it in other letters already."""
        return "/".join((self.path, name.manifest_path()))

    def manifest(self, name: Name) -> Manifest | None:
        """Return the manifest of a model, None if the store does not have it. Raises StoreError."""
        with self._open() as opened:
            return opened.manifest(name) if opened else None

    def no_store(self) -> str:
        """Return why the directory is no models directory of Ollama, "" where it may be one. Raises StoreError."""
        with self._open() as opened:
            if opened is None:
                return "does not exist"
            with opened.directory(MANIFESTS) as manifests:
                return "" if manifests is not None else "has no directory %s, so that it has no models" % MANIFESTS

    def digest(self, name: Name) -> str:
        """Return the manifest digest of a model. Raises StoreError, also where the store does not have the model."""
        manifest = self.manifest(name)
        if manifest is None:
            raise StoreError("the store %s does not have %s" % (self.path, name))
        return manifest.digest

    def missing(self, manifest: Manifest) -> list[Layer]:
        """Return the layers whose blobs the store does not have in their full size. Raises StoreError."""
        with self._open() as opened:
            return [
                layer
                for layer in manifest.blobs()
                if opened is None or not opened.has_blob(layer.digest, layer.size_bytes)
            ]

    def pulled(self, name: Name) -> Manifest | None:
        """Return the manifest of a model as it was pulled (store_pulled.py), None if the store does not have it.

        Raises:
            StoreError: it cannot be read.
        """
        with self._open() as opened:
            return pulled_manifest(opened, name) if opened else None

    def is_renamed(self, name: Name) -> bool:
        """Return whether a name was made to name another model than was pulled under it, if anything was.

        Raises:
            StoreError: a manifest cannot be read.
        """
        there, pulled = self.manifest(name), self.pulled(name)
        return there is not None and (pulled is None or there.digest != pulled.digest)

    def complete(self, name: Name, pulled: bool = False) -> Manifest | None:
        """Return the manifest of a model, or of the one that was pulled under its name, if the store has all its blobs,
        otherwise None. Raises StoreError."""
        manifest = self.pulled(name) if pulled else self.manifest(name)
        return manifest if manifest is not None and not self.missing(manifest) else None

    def names(self) -> list[Name]:
        """Return the names of the models in the store, sorted; like Ollama, leave out invalid names.

        Raises:
            StoreError: also where a link or a special file lies among the manifests.
        """
        with self._open() as opened:
            return opened.names() if opened else []

    def small_blob(self, layer: Layer, limit: int = 1024 * 1024) -> bytes:
        """Return the bytes of a small blob (parameters, template), at most `limit`. Raises StoreError."""
        with self._open() as opened:
            content = opened.read(limit, BLOBS, blob_name(layer.digest)) if opened else None
        if content is None:
            raise self._no_blob(layer)
        return content

    def open_blob(self, layer: Layer) -> BinaryIO:
        """Return a blob, open for reading and without a buffer. Raises StoreError."""
        with self._open() as opened:
            descriptor = opened.open_file(BLOBS, blob_name(layer.digest)) if opened else None
        if descriptor is None:
            raise self._no_blob(layer)
        return os.fdopen(descriptor, "rb", buffering=0)

    def free_bytes(self) -> int | None:
        """Return the free bytes of the store's file system, None where they cannot be read."""
        try:
            return available(os.statvfs(nearest(self.path)))
        except (OSError, StoreError):
            return None

    def begun_bytes(self, layers: Sequence[Layer] | None = None) -> int:
        """Return the bytes on the disk of unfinished downloads: those of these blobs, without them of all.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._open() as opened, contextlib.ExitStack() as stack:
            blobs = stack.enter_context(opened.directory(BLOBS)) if opened else None
            if blobs is None:
                return 0
            if layers is None:
                names = [name for name in os.listdir(blobs) if name.endswith(_BEGUN)]
            else:
                names = [blob_name(layer.digest) + end for layer in layers for end in _BEGUN]
            found = [status_of(name, blobs) for name in names]
            return sum(status.st_blocks * 512 for status in found if status is not None)

    def _no_blob(self, layer: Layer) -> StoreError:
        return StoreError("the store %s does not have the blob %s" % (self.path, blob_name(layer.digest)))

    def _open(self) -> contextlib.AbstractContextManager[OpenStore | None]:
        opened = OpenStore.at(self.path)
        return contextlib.nullcontext() if opened is None else opened

    # -- changing ------------------------------------------------------------------------------------------------------

    def way_from(self, other: Store, name: Name, pulled: bool = False) -> Brought:
        """Return how a model of another store, or the one pulled under its name there, would come into this one.

        Nothing is changed.

        Raises:
            StoreError: the user of this store cannot bring it from there.
        """
        device = os.stat(nearest(self.path)).st_dev
        with other._source() as source:
            user = worker(self.path, self.user, fallback=as_user.NOBODY)
            return Brought(**_call(user, store_changes.survey, self.path, device, source, str(name), pulled))

    def take_from(self, other: Store, name: Name, target: Name | None = None, pulled: bool = False) -> Brought:
        """Bring a model of another store into this one: hard-link or copy its blobs, and write its manifest.

        Args:
            other: the store that has the model.
            name: of the model there.
            target: name of the model here; the same without it.
            pulled: whether the model is wanted that was pulled under that name there.

        Raises:
            StoreError: something cannot be read or written.
        """
        with other._source() as source:
            user = worker(self.path, self.user)
            return Brought(**_call(user, store_changes.take, self.path, source, str(name), str(target or name), pulled))

    def take_blobs(self, other: Store, layers: Sequence[Layer]) -> Brought:
        """Bring those blobs of another store into this one that it has and this one does not; no manifest is written.

        Args:
            other: the store that may have some of them.
            layers: the blobs.

        Raises:
            StoreError: something cannot be read or written.
        """
        wanted = [[layer.digest, layer.size_bytes] for layer in layers]
        with other._source() as source:
            user = worker(self.path, self.user)
            return Brought(**_call(user, store_changes.take_blobs, self.path, source, wanted))

    def repair_downloads(self) -> int:
        """Write down how far interrupted downloads are, while no server uses the store (partial_downloads.py).

        Returns:
            How many bytes the next server need not fetch again.

        Raises:
            StoreError: the store cannot be read or changed.
        """
        return _call(worker(self.path, self.user), partial_downloads.repair, self.path)

    def remove(self, name: Name) -> None:
        """Remove a model, what was pulled under its name, and blobs that no other model of this store uses.

        Raises:
            StoreError: the store cannot be read or changed.
        """
        if self.manifest(name) is not None or self.has_record(name):
            _call(worker(self.path, self.user), store_changes.remove, self.path, str(name))

    def kept(self) -> dict[str, str]:
        """Return all manifests of the store (store_kept.py); {} where there is no store. Raises StoreError."""
        with self._open() as opened:
            return store_kept.kept_manifests(opened) if opened else {}

    def put_back(self, kept: dict[str, str]) -> int:
        """Give the store the manifests that it had, and return how many differed. Raises StoreError."""
        return _call(worker(self.path, self.user), store_kept.put_back, self.path, kept)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return `function(path of the store, *arguments)`, run as the user of the store. Raises StoreError."""
        return _call(worker(self.path, self.user), function, self.path, *arguments)

    def run_watched(self, meanwhile: Callable[[], None], function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `run` does; meanwhile() is called about once a second while the user's process works."""
        return _call(worker(self.path, self.user), function, self.path, *arguments, meanwhile=meanwhile)

    def opened(self) -> contextlib.AbstractContextManager[OpenStore | None]:
        """Open the store for reading; None where there is none. Raises StoreError."""
        return self._open()

    def has_record(self, name: Name) -> bool:
        """Return whether the store knows that a name was made to name another model. Raises StoreError."""
        with self._open() as opened:
            return opened is not None and any(
                opened.manifest_at(side_path(name), root) is not None for root in (PULLED, GIVEN)
            )

    def give_names(self, model: Name, names: Sequence[Name]) -> None:
        """Let further names name a model of this store (store_aliases.py). Raises StoreError."""
        arguments = (self.path, str(model), [str(name) for name in names])
        _call(worker(self.path, self.user), store_aliases.give_names, *arguments)

    def restore(self, name: Name) -> None:
        """Give a name back the model that was pulled under it. Raises StoreError."""
        if self.is_renamed(name):
            _call(worker(self.path, self.user), store_aliases.restore, self.path, str(name))

    @contextlib.contextmanager
    def _source(self) -> Iterator[tuple[int, str]]:
        """Descriptor and path of this store, for the child of another one, which may not reach the path itself."""
        with self._open() as opened:
            if opened is None:
                raise StoreError("there is no store %s" % self.path)
            yield (opened.descriptor, self.path)


def _call(
    user: as_user.Account | None,
    function: Callable[..., Any],
    *arguments: Any,
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """Return `function(*arguments)`, run as `user`; in this process where there is none."""
    if user is None:
        return function(*arguments)
    try:
        return as_user.call_as(user, function, *arguments, expected=(StoreError,), meanwhile=meanwhile)
    except as_user.UserError as error:
        raise StoreError(str(error))
