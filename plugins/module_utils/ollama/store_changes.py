# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Change a models directory of Ollama. Every function here runs as the user that the store belongs to (store.py).

Arguments and results are data that fit into JSON. The source of a model is a descriptor that was opened before root's
rights were given up, because the user may not be able to reach the path (/root/.ollama/models). Files get the modes
that Ollama's own get: 0644 and 0755 less the umask, which a child has from the unit.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Any

from ..common.names import Name, parse
from .manifest import MAX_BYTES, Layer, Manifest
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
from .store_pulled import GIVEN, PULLED, pulled_manifest, side_path
from .store_replaced import REPLACED, replaced_manifests

#: End of the names of files that are being written. A run that was killed leaves some; the next takes them away, and so
#: does a pruning start of Ollama, because they are no digests.
_UNFINISHED = "-copying"
_CHUNK = 4 * 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Why a blob cannot be linked, although it can be copied: another file system, a file of others, too many links.
_NOT_LINKED = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP)


def survey(target: str, device: int, source: tuple[int, str], name: str, pulled: bool = False) -> dict[str, int]:
    """Return how a model would come from another store.

    Args:
        target: path of the store that it would come to, which need not exist.
        device: file system of that.
        source: descriptor and path of the store that has it.
        name: of the model.
        pulled: whether the model is wanted as it was pulled.

    Returns:
        {linked_bytes, copied_bytes} of the blobs that the target does not have.

    Raises:
        StoreError: the source does not have all of it, or this user may not read it.
    """
    found = {"linked_bytes": 0, "copied_bytes": 0}
    with OpenStore(os.dup(source[0]), source[1]) as store:
        manifest = _manifest(store, parse(name), pulled)
        opened = OpenStore.at(target, follow=False)
        with opened or contextlib.nullcontext():
            for layer in manifest.blobs():
                status = _readable(store, layer)
                if opened is None or not opened.has_blob(layer.digest, layer.size_bytes):
                    linked = status.st_dev == device and status.st_uid == os.geteuid()
                    found["linked_bytes" if linked else "copied_bytes"] += layer.size_bytes
    return found


def take(target: str, source: tuple[int, str], name: str, new_name: str, pulled: bool = False) -> dict[str, int]:
    """Bring a model of another store into this one.

    Blobs that belong to this user are hard-linked where both stores are on one file system; the others are copied,
    because Ollama sets the times of the blobs that it uses, which only their owner may. The manifest is written last.

    Args:
        target: path of the store; made where it is missing.
        source: descriptor and path of the store that has the model.
        name: of the model there.
        new_name: of the model here.
        pulled: whether the model is wanted as it was pulled.

    Returns:
        {linked_bytes, copied_bytes}.

    Raises:
        StoreError: the source does not have all of it, or something cannot be read, linked, copied or written.
    """
    try:
        with OpenStore(os.dup(source[0]), source[1]) as store, opened_store(target) as opened:
            manifest = _manifest(store, parse(name), pulled)
            done = {"linked_bytes": 0, "copied_bytes": 0}
            with made(opened, BLOBS) as blobs:
                remove_unfinished(opened, blobs)
                for layer in manifest.blobs():
                    way = _bring(store, layer, opened, blobs)
                    if way:
                        done[way] += layer.size_bytes
                os.fsync(blobs)
                replace_manifest(opened, blobs, manifest.raw, opened.exact(parse(new_name)))
            return done
    except OSError as error:
        raise StoreError(
            "cannot bring %s from %s into %s as %s: %s"
            % (name, source[1], target, user_name(os.geteuid()), error.strerror or error)
        )


def take_blobs(target: str, source: tuple[int, str], wanted: list[list[Any]]) -> dict[str, int]:
    """Bring blobs that another store has into this one; see `take`. No manifest is written.

    Args:
        target: path of the store; made where it is missing.
        source: descriptor and path of the store that may have some of them.
        wanted: [digest, size] of each.

    Returns:
        {linked_bytes, copied_bytes}.

    Raises:
        StoreError: something cannot be read, linked, copied or written.
    """
    done = {"linked_bytes": 0, "copied_bytes": 0}
    try:
        with OpenStore(os.dup(source[0]), source[1]) as store, opened_store(target) as opened:
            with made(opened, BLOBS) as blobs:
                for layer in (Layer("", digest, size) for digest, size in wanted):
                    way = _bring(store, layer, opened, blobs) if store.has_blob(layer.digest, layer.size_bytes) else ""
                    if way:
                        done[way] += layer.size_bytes
                os.fsync(blobs)
    except OSError as error:
        raise StoreError(
            "cannot bring blobs from %s into %s as %s: %s"
            % (source[1], target, user_name(os.geteuid()), error.strerror or error)
        )
    return done


def remove(target: str, name: str) -> None:
    """Remove a model and its blobs that no other model of the store uses.

    Raises:
        StoreError: the store cannot be read or changed.
    """
    try:
        with opened_store(target) as store:
            parts, side = store.exact(parse(name)), side_path(parse(name))
            removed = [store.manifest(parse(name)), store.manifest_at(side, PULLED)]
            for root, path in ((MANIFESTS, parts), (PULLED, side), (GIVEN, side)):
                if store.manifest_at(path, root) is not None:
                    remove_manifest(store, root, path)
            used: set[str] = set()
            others = [
                kept for other in store.names() for kept in (store.manifest(other), pulled_manifest(store, other))
            ]
            for kept in others + list(replaced_manifests(store).values()):
                used.update(layer.digest for layer in (kept.blobs() if kept else ()))
            with store.existing(BLOBS) as blobs:
                for digest in {layer.digest for manifest in removed if manifest for layer in manifest.blobs()} - used:
                    if status_of(blob_name(digest), blobs) is not None:
                        os.unlink(blob_name(digest), dir_fd=blobs)
    except OSError as error:
        raise StoreError("cannot remove %s from the store %s: %s" % (name, target, error.strerror or error))


def remove_manifest(store: OpenStore, root: str, parts: tuple[str, ...]) -> None:
    """Remove a manifest, then its directories that are empty now."""
    for number in range(len(parts), 0, -1):
        with store.existing(root, *parts[: number - 1]) as directory:
            if number == len(parts):
                os.unlink(parts[-1], dir_fd=directory)
            elif not _rmdir(parts[number - 1], directory):
                break


def _manifest(store: OpenStore, name: Name, pulled: bool = False) -> Manifest:
    manifest = pulled_manifest(store, name) if pulled else store.manifest(name)
    if manifest is None or not all(store.has_blob(layer.digest, layer.size_bytes) for layer in manifest.blobs()):
        raise StoreError("the store %s does not have all of %s" % (store.path, name))
    return manifest


def _readable(store: OpenStore, layer: Layer) -> os.stat_result:
    """Status of a blob that this user may read. Raises StoreError."""
    descriptor = store.open_file(BLOBS, blob_name(layer.digest))
    if descriptor is None:
        raise StoreError("the store %s does not have %s" % (store.path, blob_name(layer.digest)))
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def opened_store(path: str) -> OpenStore:
    """Open the store of this user, and make it where it is missing."""
    store = OpenStore.at(path, follow=False)
    if store is None:
        os.makedirs(path, 0o755, exist_ok=True)
        store = OpenStore.at(path, follow=False)
        if store is None:
            raise StoreError("the store %s was removed during this run; run again" % path)
    try:
        _check_owner(path, os.fstat(store.descriptor))
    except BaseException:
        os.close(store.descriptor)
        raise
    return store


def _check_owner(path: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise StoreError(foreign(path, status, user_name(os.geteuid())))


@contextlib.contextmanager
def made(store: OpenStore, *parts: str) -> Iterator[int]:
    """Open a directory of the store, and make what is missing of its path."""
    for number, part in enumerate(parts):
        with store.existing(*parts[:number]) as parent:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=parent)
        with store.existing(*parts[: number + 1]) as directory:
            _check_owner("/".join((store.path, *parts[: number + 1])), os.fstat(directory))
            if number + 1 == len(parts):
                yield directory


def remove_unfinished(store: OpenStore, blobs: int) -> None:
    """Remove what a run that was killed left among the blobs."""
    for name, status in store.entries(lambda _path, _status: True, [MAX_ENTRIES], BLOBS):
        if name.endswith(_UNFINISHED) and not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=blobs)


def _bring(source: OpenStore, layer: Layer, target: OpenStore, blobs: int) -> str:
    """Bring a blob; return "linked_bytes", "copied_bytes", or "" where it is there. One of another size is replaced."""
    name = blob_name(layer.digest)
    there = status_of(name, blobs)
    if there is not None:
        path = "/".join((target.path, BLOBS, name))
        if not stat.S_ISREG(there.st_mode):
            raise StoreError(refusal(path, there))
        _check_owner(path, there)
        if there.st_size == layer.size_bytes:
            return ""  # the server verifies its content
    unfinished = name + _UNFINISHED
    way = "linked_bytes" if _linked(source, layer, blobs, unfinished) else "copied_bytes"
    if way == "copied_bytes":
        _copy(source, layer, target, blobs, unfinished)
    os.rename(unfinished, name, src_dir_fd=blobs, dst_dir_fd=blobs)
    return way


def _linked(source: OpenStore, layer: Layer, blobs: int, unfinished: str) -> bool:
    """Hard-link a blob under the name of an unfinished one; return whether it is as it has to be."""
    with source.existing(BLOBS) as directory:
        try:
            os.link(blob_name(layer.digest), unfinished, src_dir_fd=directory, dst_dir_fd=blobs, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_LINKED:
                return False
            raise
    # What is looked at is the new link: its source may have been exchanged meanwhile.
    status = status_of(unfinished, blobs)
    if status is None:
        return False
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_size == layer.size_bytes:
        return True
    os.unlink(unfinished, dir_fd=blobs)
    return False


def _copy(source: OpenStore, layer: Layer, target: OpenStore, blobs: int, unfinished: str) -> None:
    """Copy a blob under the name of an unfinished one; check its size and its SHA-256."""
    path = "/".join((source.path, BLOBS, blob_name(layer.digest)))
    space = os.fstatvfs(blobs)
    free = space.f_bavail * space.f_frsize
    if layer.size_bytes > free:
        raise StoreError(
            "the copy of %s needs %d bytes in %s, where %d are free; free %d more"
            % (path, layer.size_bytes, target.path, free, layer.size_bytes - free)
        )
    descriptor = source.open_file(BLOBS, blob_name(layer.digest))
    if descriptor is None:
        raise StoreError("%s was removed during this run; run again" % path)
    sha256, size = hashlib.sha256(), 0
    with os.fdopen(descriptor, "rb", buffering=0) as reading:
        new = os.open(unfinished, _NEW, 0o644, dir_fd=blobs)
        with os.fdopen(new, "wb", buffering=0) as writing:
            for chunk in iter(lambda: reading.read(_CHUNK), b""):
                size += len(chunk)
                if size > layer.size_bytes:
                    break
                sha256.update(chunk)
                _write_all(new, chunk)
            writing.flush()
            os.fsync(new)
    if size != layer.size_bytes or "sha256:" + sha256.hexdigest() != layer.digest:
        os.unlink(unfinished, dir_fd=blobs)
        raise StoreError(
            "%s is damaged: its content does not have the SHA-256 in its name; pull the model again" % path
        )


def _write_all(descriptor: int, content: bytes) -> None:
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
            _check_owner(path, there)
        unfinished = "manifest" + _UNFINISHED
        descriptor = os.open(unfinished, _NEW, 0o644, dir_fd=blobs)
        try:
            _write_all(descriptor, raw)
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


def _rmdir(name: str, directory: int) -> bool:
    """Remove a directory if it is empty; return whether it was."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
