# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Keep the manifest of a model that a server will replace, and give one that was replaced a name for a while. Every
function here runs as the user that the store belongs to."""

from __future__ import annotations

from ..common.names import parse
from .store_directory import BLOBS, MANIFESTS, StoreError, blob_name
from .store_pulled import GIVEN, PULLED, pulled_manifest, side_path
from .store_replaced import REPLACED, replaced_manifest
from .store_writing import made, opened_store, remove_manifest, remove_unfinished, write_manifest


def keep(target: str, name: str) -> None:
    """Keep the manifest of a model, and of what was pulled under its name, before a server replaces it.

    Raises:
        StoreError: the store cannot be read or changed.
    """
    with opened_store(target) as store, made(store, BLOBS) as blobs:
        remove_unfinished(store, blobs)
        for manifest in (store.manifest(parse(name)), pulled_manifest(store, parse(name))):
            if manifest is not None:
                write_manifest(store, blobs, manifest.raw, (REPLACED, blob_name(manifest.digest)))


def name_replaced(target: str, digest: str, name: str) -> None:
    """Give a manifest that was replaced a name.

    Raises:
        StoreError: the store does not have all of it, or cannot be changed.
    """
    with opened_store(target) as store, made(store, BLOBS) as blobs:
        remove_unfinished(store, blobs)
        manifest = replaced_manifest(store, digest)
        if manifest is None or not all(store.has_blob(layer.digest, layer.size_bytes) for layer in manifest.blobs()):
            raise StoreError("the store %s does not have all of the model with the digest %s" % (target, digest))
        write_manifest(store, blobs, manifest.raw, (MANIFESTS, *store.exact(parse(name))))


def remove_name(target: str, name: str) -> None:
    """Remove a name, what is known of it, and no blob. Raises StoreError."""
    with opened_store(target) as store:
        side = side_path(parse(name))
        for root, parts in ((MANIFESTS, store.exact(parse(name))), (PULLED, side), (GIVEN, side)):
            if store.manifest_at(parts, root) is not None:
                remove_manifest(store, root, parts)
