# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How files get into a store and leave it: directories, drafts, manifests. Every function here runs as the user that
the store belongs to (store.py), and refuses what belongs to another."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from ..host.file_system import available
from .manifest import MAX_BYTES
from .store_directory import (
    BLOBS,
    MANIFESTS,
    MAX_ENTRIES,
    OpenStore,
    StoreError,
    blob_name,
    foreign,
    refusal,
    status_of,
    user_name,
)
from .store_replaced import REPLACED, replaced_manifests

#: End of the names of files that are being written. A run that was killed leaves some; the next takes them away, and so
#: does a pruning start of Ollama, because they are no digests.
UNFINISHED = "-copying"
#: How a file is opened that must not be there before.
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def opened_store(path: str) -> OpenStore:
    """Open the store of this user, and make it where it is missing.

    Raises:
        StoreError: it belongs to another user, is no directory, or was removed meanwhile.
        OSError: it cannot be made.
    """
    store = OpenStore.at(path, follow=False)
    if store is None:
        os.makedirs(path, 0o755, exist_ok=True)
        store = OpenStore.at(path, follow=False)
        if store is None:
            raise StoreError("the store %s was removed during this run; run again" % path)
    try:
        check_owner(path, os.fstat(store.descriptor))
    except BaseException:
        os.close(store.descriptor)
        raise
    return store


def check_owner(path: str, status: os.stat_result) -> None:
    """Refuse what belongs to another user.

    Args:
        path: in the message.
        status: of what lies there.

    Raises:
        StoreError: it belongs to another user.
    """
    if status.st_uid != os.geteuid():
        raise StoreError(foreign(path, status, user_name(os.geteuid())))


@contextlib.contextmanager
def made(store: OpenStore, *parts: str) -> Iterator[int]:
    """Open a directory of the store, and make what is missing of its path.

    Args:
        store: the store of this user.
        parts: of the path below its top directory.

    Yields:
        The descriptor of the directory.

    Raises:
        StoreError: a part is no directory, or belongs to another user.
    """
    for number, part in enumerate(parts):
        with store.existing(*parts[:number]) as parent:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=parent)
        with store.existing(*parts[: number + 1]) as directory:
            check_owner("/".join((store.path, *parts[: number + 1])), os.fstat(directory))
            if number + 1 == len(parts):
                yield directory


def remove_unfinished(store: OpenStore, blobs: int) -> None:
    """Remove what a run that was killed left among the blobs."""
    for name, status in store.entries(lambda _path, _status: True, [MAX_ENTRIES], BLOBS):
        if name.endswith(UNFINISHED) and not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=blobs)


def check_space(store: OpenStore, blobs: int, what: str, needed: int) -> None:
    """Refuse what does not fit into the file system of a store.

    Args:
        store: the store, for the message.
        blobs: descriptor of its blobs.
        what: what needs the bytes, for the message.
        needed: how many bytes.

    Raises:
        StoreError: fewer are free.
    """
    free = available(os.fstatvfs(blobs))
    if needed > free:
        raise StoreError(
            "%s needs %d bytes in %s, where %d are free; free %d more" % (what, needed, store.path, free, needed - free)
        )


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of a content, also where the system takes it in pieces."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def write_manifest(store: OpenStore, blobs: int, raw: bytes, parts: tuple[str, ...]) -> None:
    """Write a manifest atomically. Its unfinished file lies with the blobs, where no server takes it for a model.

    Args:
        store: the store of this user.
        blobs: descriptor of its blobs.
        raw: the manifest.
        parts: of its path in the store.

    Raises:
        StoreError: something else lies there, or it belongs to another user.
    """
    name, path = parts[-1], "/".join((store.path, *parts))
    with made(store, *parts[:-1]) as directory:
        there = status_of(name, directory)
        if there is not None:
            if not stat.S_ISREG(there.st_mode):
                raise StoreError(refusal(path, there))
            check_owner(path, there)
        unfinished = "manifest" + UNFINISHED
        descriptor = os.open(unfinished, NEW, 0o644, dir_fd=blobs)
        try:
            write_all(descriptor, raw)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(unfinished, name, src_dir_fd=blobs, dst_dir_fd=directory)


def replace_manifest(store: OpenStore, blobs: int, raw: bytes, parts: tuple[str, ...]) -> None:
    """Write the manifest of a model, `parts` below the manifests, and keep the one that it replaces by its digest
    (store_replaced.py). The rest as `write_manifest`."""
    before = store.read(MAX_BYTES, MANIFESTS, *parts)
    if before is not None and before != raw:
        for name, manifest in replaced_manifests(store).items():
            if not all(store.has_blob(layer.digest, layer.size_bytes) for layer in manifest.blobs()):
                remove_manifest(store, REPLACED, (name,))  # its blobs were freed
        digest = "sha256:" + hashlib.sha256(before).hexdigest()
        write_manifest(store, blobs, before, (REPLACED, blob_name(digest)))
    write_manifest(store, blobs, raw, (MANIFESTS, *parts))


def remove_manifest(store: OpenStore, root: str, parts: tuple[str, ...]) -> None:
    """Remove a manifest, then its directories that are empty now."""
    for number in range(len(parts), 0, -1):
        with store.existing(root, *parts[: number - 1]) as directory:
            if number == len(parts):
                os.unlink(parts[-1], dir_fd=directory)
            elif not _rmdir(parts[number - 1], directory):
                break


def _rmdir(name: str, directory: int) -> bool:
    """Remove a directory if it is empty; return whether it was."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
