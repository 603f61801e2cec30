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


def replaced_manifests(store: OpenStore, since: float = 0.0) -> dict[str, Manifest]:
    """Return {name of its file: manifest} of those that were replaced.

    Args:
        store: the store.
        since: seconds since the epoch; what was replaced before is left out.

    Raises:
        StoreError: one cannot be read.
    """
    entries = store.entries(refuse_special, [MAX_ENTRIES], REPLACED)
    found = {name: store.manifest_at((name,), REPLACED) for name, status in entries if status.st_mtime >= since}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def replaced_manifest(store: OpenStore, digest: str) -> Manifest | None:
    """Return the manifest with a digest, None where the store has not replaced it. Raises StoreError."""
    return store.manifest_at((blob_name(digest),), REPLACED)
