# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring a model file of the user into a store as a blob. Every function here runs as the user of the store.

The file grows under the name of its blob with UNCOMPLETED at the end. What a run that was killed has brought stays, and
the next run goes on from there. The blob gets its name only when its bytes have the SHA-256 in the name.
"""

from __future__ import annotations

import os
import stat
from typing import Callable, Optional

from ..common.names import parse
from ..common.regular import sha256_of
from .file_address import AddressError, FileAtAddress
from .manifest import Manifest
from .registry import Registry, RegistryError
from .store_directory import BLOBS, OpenStore, StoreError, blob_name, refusal, status_of, user_name
from .store_writing import (
    check_space,
    made,
    opened_store,
    remove_unfinished,
    replace_manifest,
    write_all,
    write_manifest,
)

#: End of the name of a blob that is not complete. Ollama's own downloads end in "-partial".
UNCOMPLETED = "-own"
_CHUNK = 4 * 1024 * 1024
_APPENDED = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
#: Returns at most so many of the next bytes of a file; b"" at its end.
Read = Callable[[int], bytes]


def bytes_of(store: OpenStore, digest: str, size: int) -> int:
    """Return how many bytes of a blob a store has, which any user may ask. Raises StoreError."""
    if store.has_blob(digest, size):
        return size
    with store.directory(BLOBS) as blobs:
        status = None if blobs is None else _uncompleted(store.path, digest, blobs)
        return min(status.st_size, size) if status is not None else 0


def append(target: str, digest: str, size: int, offset: int, descriptor: int) -> int:
    """Append what can be read from a descriptor to a blob that is not complete.

    Args:
        target: path of the store.
        digest: of the blob.
        size: of the whole blob.
        offset: where these bytes belong.
        descriptor: open for reading; it may be a file that this user cannot reach.

    Returns:
        How many bytes the blob has now.

    Raises:
        StoreError: something else is there than the bytes before the offset, or it cannot be read or written.
    """
    return _append(target, digest, size, offset, lambda count: os.read(descriptor, count))


def download(target: str, digest: str, size: int, url: str, timeout: float) -> int:
    """Append to a blob that is not complete what an address has of it.

    Args:
        target: path of the store.
        digest: of the blob.
        size: of the whole blob.
        url: the address.
        timeout: seconds without a byte.

    Returns:
        How many bytes the blob has now.

    Raises:
        StoreError: it cannot be read or written.
    """
    with opened_store(target) as store:
        offset = bytes_of(store, digest, size)
    try:
        with FileAtAddress(url, timeout).reader(offset) as read:
            return _append(target, digest, size, offset, read)
    except AddressError as error:
        raise StoreError("%s; what has been downloaded is kept, and the next run goes on from there" % error)


def download_blob(target: str, digest: str, size: int, registry: Registry) -> int:
    """Append to a blob that is not complete what a registry has of it; see `download`."""
    with opened_store(target) as store:
        offset = bytes_of(store, digest, size)
    try:
        with registry.reader(digest, offset, size) as read:
            return _append(target, digest, size, offset, read)
    except RegistryError as error:
        raise StoreError("%s; what has been downloaded is kept, and the next run goes on from there" % error)


def _append(target: str, digest: str, size: int, offset: int, read: Read) -> int:
    try:
        with opened_store(target) as store, made(store, BLOBS) as blobs:
            status = _uncompleted(target, digest, blobs)
            have = status.st_size if status is not None else 0
            if have != offset:
                raise StoreError(
                    "%s of %s has %d bytes and not %d: another run brings it; wait for it, and run again"
                    % (blob_name(digest), target, have, offset)
                )
            check_space(store, blobs, "the rest of %s" % blob_name(digest), size - have)
            writing = os.open(blob_name(digest) + UNCOMPLETED, _APPENDED, 0o644, dir_fd=blobs)
            try:
                while have < size:
                    part = read(min(_CHUNK, size - have))
                    if not part:
                        break
                    write_all(writing, part)
                    have += len(part)
                os.fsync(writing)
            finally:
                os.close(writing)
            return have
    except OSError as error:
        raise _not_brought(target, digest, error)


def complete(target: str, digest: str, size: int, what: str) -> None:
    """Give a blob its name, after its bytes were read again and compared with its digest. Other bytes are removed.

    Args:
        target: path of the store.
        digest: of the blob.
        size: of the blob.
        what: the file, for messages.

    Raises:
        StoreError: bytes are missing, or are others.
    """
    try:
        with opened_store(target) as store, made(store, BLOBS) as blobs:
            if store.has_blob(digest, size):
                return
            name = blob_name(digest) + UNCOMPLETED
            status = _uncompleted(target, digest, blobs)
            if status is None or status.st_size < size:
                raise StoreError("%s ended after %d of %d bytes" % (what, status.st_size if status else 0, size))
            found = _hash(store, name)
            if found != digest or status.st_size != size:
                os.unlink(name, dir_fd=blobs)
                raise StoreError(
                    "%s has the SHA-256 %s, not %s: correct sha256, or take the file that it is of"
                    % (what, found[7:], digest[7:])
                )
            os.rename(name, blob_name(digest), src_dir_fd=blobs, dst_dir_fd=blobs)
            os.fsync(blobs)
    except OSError as error:
        raise _not_brought(target, digest, error)


def name_model(target: str, name: str, config: str, manifest: str) -> None:
    """Write configuration and manifest of a model whose file is in the store.

    Raises:
        StoreError: a blob is missing, or something cannot be written.
    """
    found = manifest.encode("utf-8")
    blob = Manifest(found).config
    try:
        with opened_store(target) as store, made(store, BLOBS) as blobs:
            if blob is not None:
                write_manifest(store, blobs, config.encode("utf-8"), (BLOBS, blob_name(blob.digest)))
    except OSError as error:
        raise _not_brought(target, name, error)
    name_manifest(target, name, found)


def name_manifest(target: str, name: str, manifest: bytes) -> None:
    """Write the manifest of a model whose blobs are in the store.

    Raises:
        StoreError: a blob is missing, or something cannot be written.
    """
    found = Manifest(manifest)
    try:
        with opened_store(target) as store, made(store, BLOBS) as blobs:
            remove_unfinished(store, blobs)
            missing = [layer for layer in found.blobs() if not store.has_blob(layer.digest, layer.size_bytes)]
            if missing:
                raise StoreError("the store %s does not have %s" % (target, blob_name(missing[0].digest)))
            replace_manifest(store, blobs, found.raw, store.exact(parse(name)))
    except OSError as error:
        raise _not_brought(target, name, error)


def _uncompleted(target: str, digest: str, blobs: int) -> Optional[os.stat_result]:
    name = blob_name(digest) + UNCOMPLETED
    status = status_of(name, blobs)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise StoreError(refusal("/".join((target, BLOBS, name)), status))
    return status


def _hash(store: OpenStore, name: str) -> str:
    descriptor = store.open_file(BLOBS, name)
    if descriptor is None:
        raise StoreError("%s was removed from %s during this run; run again" % (name, store.path))
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        return "sha256:" + sha256_of(stream)


def _not_brought(target: str, what: str, error: OSError) -> StoreError:
    return StoreError(
        "cannot bring %s into %s as %s: %s" % (what, target, user_name(os.geteuid()), error.strerror or error)
    )
