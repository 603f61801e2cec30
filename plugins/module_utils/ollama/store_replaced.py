# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Manifests that were replaced in a store, by their digests, in a directory where no server looks.

A server unloads a model by a name of its file. A model that was loaded before its name got another file needs one.
"""

from __future__ import annotations

from .manifest import Manifest
from .store_directory import MAX_ENTRIES, OpenStore, blob_name, refuse_special

#: The directory.
REPLACED = "replaced-manifests"


def replaced_manifests(store: OpenStore) -> list[Manifest]:
    """Return the manifests that were replaced. Raises StoreError."""
    entries = store.entries(refuse_special, [MAX_ENTRIES], REPLACED)
    return [one for one in (store.manifest_at((name,), REPLACED) for name, _status in entries) if one is not None]


def replaced_manifest(store: OpenStore, digest: str) -> Manifest | None:
    """Return the manifest with a digest, None where the store has not replaced it. Raises StoreError."""
    return store.manifest_at((blob_name(digest),), REPLACED)
