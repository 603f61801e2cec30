# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Keep the manifests of a store before models are brought to it, and put them back where what was brought is no good.

Blobs stay where they are until a new plan is proven, so the manifests are all that a store is brought back with.
"""

from __future__ import annotations

from .manifest import MAX_BYTES
from .store_directory import BLOBS, MANIFESTS, MAX_ENTRIES, OpenStore, refuse_special
from .store_pulled import GIVEN, PULLED
from .store_writing import made, opened_store, remove_manifest, write_manifest

_ROOTS = (MANIFESTS, PULLED, GIVEN)


def kept_manifests(store: OpenStore) -> dict[str, str]:
    """Return {path below the store: content} of all manifests.

    Raises:
        StoreError: one cannot be read, or there are links or special files among them.
    """
    found = {}
    left = [MAX_ENTRIES]
    for root in _ROOTS:
        for parts in store.tags(refuse_special, left, (), root):
            raw = store.read(MAX_BYTES, root, *parts)
            if raw is not None:
                found["/".join((root, *parts))] = raw.decode("latin-1")
    return found


def put_back(target: str, kept: dict[str, str]) -> int:
    """Give a store the manifests that it had; runs as the user that it belongs to.

    Args:
        target: path of the store.
        kept: of kept_manifests.

    Returns:
        The number of manifests that differed.

    Raises:
        StoreError: the store cannot be read or changed.
    """
    changed = 0
    with opened_store(target) as store:
        with made(store, BLOBS) as blobs:
            for path, text in kept.items():
                parts, raw = tuple(path.split("/")), text.encode("latin-1")
                if store.read(MAX_BYTES, *parts) != raw:
                    write_manifest(store, blobs, raw, parts)
                    changed += 1
        for path in set(kept_manifests(store)) - set(kept):
            root, *rest = path.split("/")
            remove_manifest(store, root, tuple(rest))
            changed += 1
    return changed
