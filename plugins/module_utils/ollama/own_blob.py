# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring the file of a model of the user's own into a store as a blob: from the host, from its address, or in pieces."""

from __future__ import annotations

import os

from ..common.libraries import import_requests
from ..common.names import Name
from ..common.regular import open_regular
from . import store_own
from .own_file import OwnFile
from .store import Store, StoreError


def bytes_there(store: Store, own: OwnFile) -> int:
    """Return how many bytes of a file a store has. Nothing is changed. Raises StoreError."""
    return blob_bytes(store, own.digest, own.size_bytes)


def blob_bytes(store: Store, digest: str, size: int) -> int:
    """Return how many bytes of a blob a store has. Nothing is changed. Raises StoreError."""
    with store.opened() as opened:
        return store_own.bytes_of(opened, digest, size) if opened else 0


def bring(store: Store, own: OwnFile, timeout: float) -> int:
    """Bring a file, and compare it with its SHA-256.

    Args:
        store: The store.
        own: The file. One of the controller has to be there already.
        timeout: Seconds without a byte after which a download is given up.

    Returns:
        How many bytes were copied or downloaded.

    Raises:
        LibraryMissing: The host has no requests.
        StoreError: The file cannot be read, has other bytes than its SHA-256 says, or cannot be written.
    """
    start = bytes_there(store, own)
    if start < own.size_bytes and own.kind == "url":
        _download(store, own, start, timeout)
    elif start < own.size_bytes and own.kind == "host_file":
        append(store, own, start, own.where, start)
    elif start < own.size_bytes:
        raise StoreError(
            "%s of the controller has not been sent to %s: send it with model_file" % (own.where, store.path)
        )
    store.run(store_own.complete, own.digest, own.size_bytes, own.where)
    return own.size_bytes - start


def append(store: Store, own: OwnFile, offset: int, path: str, skipped: int = 0) -> int:
    """Append what a file of the host has to a blob, and return how many bytes are there.

    Args:
        store: The store.
        own: The file that the blob is of.
        offset: Where these bytes belong.
        path: The file of the host: the whole one, or a piece of it.
        skipped: How many of its bytes are left out.

    Raises:
        StoreError: It cannot be read or written.
    """
    try:
        with open_regular(path) as stream:
            os.lseek(stream.fileno(), skipped, os.SEEK_SET)
            return store.run(store_own.append, own.digest, own.size_bytes, offset, stream.fileno())
    except (OSError, ValueError) as error:
        raise StoreError("cannot read the model file %s: %s" % (path, getattr(error, "strerror", None) or error))


def name_it(store: Store, name: Name, own: OwnFile) -> None:
    """Let a name name the model of a file that the store has as a blob. Raises StoreError."""
    store.run(store_own.name_model, str(name), own.config().decode("utf-8"), own.manifest().raw.decode("utf-8"))


def _download(store: Store, own: OwnFile, start: int, timeout: float) -> None:
    """Download what is missing; a connection that breaks is made again as long as bytes have come."""
    import_requests()  # the child cannot
    while start < own.size_bytes:
        try:
            have = store.run(store_own.download, own.digest, own.size_bytes, own.where, timeout)
        except StoreError:
            have = bytes_there(store, own)
            if have <= start:
                raise
        if have <= start:
            return  # `complete` says what is missing
        start = have
