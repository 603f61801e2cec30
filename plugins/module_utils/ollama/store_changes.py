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
from typing import Any

from ..common.names import Name, parse
from .manifest import Layer, Manifest
from .store_directory import BLOBS, MANIFESTS, OpenStore, StoreError, blob_name, refusal, status_of, user_name
from .store_pulled import GIVEN, PULLED, pulled_manifest, side_path
from .store_replaced import replaced_manifests
from .store_writing import (
    NEW,
    UNFINISHED,
    check_owner,
    check_space,
    made,
    opened_store,
    remove_manifest,
    remove_unfinished,
    replace_manifest,
    write_all,
)

_CHUNK = 4 * 1024 * 1024
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


def _bring(source: OpenStore, layer: Layer, target: OpenStore, blobs: int) -> str:
    """Bring a blob; return "linked_bytes", "copied_bytes", or "" where it is there. One of another size is replaced."""
    name = blob_name(layer.digest)
    there = status_of(name, blobs)
    if there is not None:
        path = "/".join((target.path, BLOBS, name))
        if not stat.S_ISREG(there.st_mode):
            raise StoreError(refusal(path, there))
        check_owner(path, there)
        if there.st_size == layer.size_bytes:
            return ""  # the server verifies its content
    unfinished = name + UNFINISHED
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
    check_space(target, blobs, "the copy of %s" % path, layer.size_bytes)
    descriptor = source.open_file(BLOBS, blob_name(layer.digest))
    if descriptor is None:
        raise StoreError("%s was removed during this run; run again" % path)
    sha256, size = hashlib.sha256(), 0
    with os.fdopen(descriptor, "rb", buffering=0) as reading:
        new = os.open(unfinished, NEW, 0o644, dir_fd=blobs)
        with os.fdopen(new, "wb", buffering=0) as writing:
            for chunk in iter(lambda: reading.read(_CHUNK), b""):
                size += len(chunk)
                if size > layer.size_bytes:
                    break
                sha256.update(chunk)
                write_all(new, chunk)
            writing.flush()
            os.fsync(new)
    if size != layer.size_bytes or "sha256:" + sha256.hexdigest() != layer.digest:
        os.unlink(unfinished, dir_fd=blobs)
        raise StoreError(
            "%s is damaged: its content does not have the SHA-256 in its name; pull the model again" % path
        )
