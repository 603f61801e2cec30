# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that were replaced in a store, for a server that has them loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..common.names import Name, parse
from . import store_named
from .store import Store
from .store_replaced import replaced_manifest


def keep(store: Store | None, *names: Name) -> None:
    """Keep the manifests of models that a server is about to replace. Raises StoreError."""
    for name in names:
        if store is not None and store.manifest(name) is not None:
            store.run(store_named.keep, str(name))


def forget(store: Store, name: Name) -> None:
    """Remove a model from a store, and none of its blobs. Its manifest is kept by its digest. Raises StoreError."""
    keep(store, name)
    store.run(store_named.remove_name, str(name))


@contextlib.contextmanager
def named(store: Store, digest: str) -> Iterator[Name | None]:
    """Give a model that was replaced a name for a while; None where the store does not have it any more.

    Raises:
        StoreError: The store cannot be read or changed.
    """
    with store.opened() as opened:
        there = replaced_manifest(opened, digest) if opened else None
    if there is None or store.missing(there):
        yield None
        return
    name = parse("replaced:" + digest[-12:])
    store.run(store_named.name_replaced, digest, str(name))
    try:
        yield name
    finally:
        store.run(store_named.remove_name, str(name))
