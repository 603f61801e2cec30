# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that another store of this host has: which of them can be linked or copied, and how they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from ..common.names import Name
from .store import Store, StoreError
from .target import ModelError, Target

# Outcome.action -> the same in words
PAST = {"link": "linked", "copy": "copied"}


def from_another_store(
    target: Target,
    name: Name,
    stores: Sequence[Store],
    fits: Callable[[Store], bool],
    warnings: list[str],
    pulled: bool = False,
) -> tuple[Store, str] | None:
    """Return the store that a model can come from, and how: "link" or, where no store can be linked from, "copy".

    Args:
        target: The instance.
        name: The model.
        stores: Those that it may come from. The instance's own store is left out.
        fits: Whether a store has the model as it should be.
        warnings: A sentence is added for each store that has it but cannot be used.
        pulled: Whether the model is meant that was pulled under that name.

    Raises:
        ModelError: There is no space for a copy.
    """
    if target.store is None:
        return None
    copied = None
    for store in stores:
        if store.path == target.store.path:
            continue
        try:
            if not fits(store):
                continue
            way = target.store.way_from(store, name, pulled)
        except StoreError as error:
            warnings.append("%s is not taken from the store %s: %s." % (name, store.path, error))
            continue
        if way.action == "link":
            return store, "link"
        copied = copied or (store, way.copied_bytes)
    if copied is None:
        return None
    target.check_space(name, copied[1])
    return copied[0], "copy"


def has(store: Store, name: Name, pin: str | None) -> bool:
    """Return whether a store has all of the model as it was pulled, in the pinned form."""
    manifest = store.complete(name, pulled=True)
    return manifest is not None and pin in (None, manifest.digest)


def digest_in(store: Store, name: Name) -> str:
    """Return the digest of what was pulled under a name that a store had a moment ago.

    Raises:
        StoreError: it does not have it any more.
    """
    manifest = store.pulled(name)
    if manifest is None:
        raise StoreError("%s was removed from the store %s during this run; run again" % (name, store.path))
    return manifest.digest


def take(
    target: Target, other: Store, name: Name, digest: str, pulled: bool = False, held_as: Name | None = None
) -> str:
    """Link or copy a model from the store `other`, and check that a running server really uses the instance's store.

    Args:
        target: The instance.
        other: The store that has the model.
        name: The model.
        digest: That it has there.
        pulled: Whether the model is meant that was pulled under that name.
        held_as: Its name there; the same without it.

    Returns:
        What was done: "link" or "copy".
    """
    if target.store is None:  # from_another_store() has found nothing then
        return "link"
    done = target.store.take_from(other, held_as or name, name, pulled)
    target.forget()
    if target.digest(name) != digest:
        raise ModelError(
            "%s was %s into the store %s, but the server at %s does not list it; give the store that this server "
            "uses (OLLAMA_MODELS)" % (name, PAST[done.action], target.store.path, target.client.url)
        )
    return done.action
