# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring a model of a registry that needs a login into a store, without a server: Ollama can log in to none.

The blobs are downloaded as files of the user are (store_own.py), by the user of the store. The login is in the memory
of that process and of this one, and in no file, argument or environment.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Callable

from ..common.names import Name
from . import own_blob, store_own
from .manifest import Layer, Manifest
from .registry import Registry
from .store import Store, StoreError
from .target import ModelError, Target

#: Called with the bytes that are there, and those of all blobs.
Report = Callable[[int, int], None]


def download(
    target: Target, name: Name, manifest: Manifest, registry: Callable[[], Registry], report: Report | None
) -> None:
    """Bring a model, and let the name name it. What a run that was killed has brought is not downloaded again.

    Args:
        target: The instance. Its store has to be known.
        name: The model.
        manifest: That the registry has of it.
        registry: Returns the registry of the model, without an open connection.
        report: Is told of the progress.

    Raises:
        ModelError: The store is not known.
        StoreError: A blob cannot be downloaded, or has other bytes than its digest says.
    """
    store = target.store
    if store is None:
        raise ModelError("%s comes from a registry with a login, which needs the store on this host; give store" % name)
    total, done = manifest.size_bytes(), 0
    for layer in manifest.blobs():
        told = functools.partial(_tell, report, store, layer, done, total)
        _download_blob(store, layer, "the blob %s of %s" % (layer.digest[:19], name), registry, told)
        done += layer.size_bytes
    if report is not None:
        report(total, total)
    store.run(store_own.name_manifest, str(name), manifest.raw)
    target.forget()


def _tell(report: Report | None, store: Store, layer: Layer, before: int, total: int) -> None:
    """Say how much is there, of the blobs before and of this one."""
    if report is not None:
        with contextlib.suppress(StoreError):
            report(before + own_blob.blob_bytes(store, layer.digest, layer.size_bytes), total)


def _download_blob(
    store: Store, layer: Layer, what: str, registry: Callable[[], Registry], told: Callable[[], None]
) -> None:
    """Download what is missing of a blob; a connection that breaks is made again as long as bytes have come."""
    digest, size = layer.digest, layer.size_bytes
    have = own_blob.blob_bytes(store, digest, size)
    while have < size:
        start = have
        try:
            have = store.run_watched(told, store_own.download_blob, digest, size, registry())
        except StoreError:
            have = own_blob.blob_bytes(store, digest, size)
            if have <= start:
                raise
        if have <= start:
            break  # `complete` says what is missing
    store.run(store_own.complete, digest, size, what)
