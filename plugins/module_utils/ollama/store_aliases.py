# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Let several names of a store name one model. Every function here runs as the user that the store belongs to.

A server loads a model again for a request under a name whose options differ (Ollama 0.32.15, server/sched.go:
needsReload; one engine for each model file, schedulerModelKey), so every name that clients may use gets the same
manifest. What a name had before is kept beside the manifests, where no server looks: models are created from it, and
its digest is the registry's.
"""

from __future__ import annotations

import os

from ..common.names import Name, parse
from .store_directory import BLOBS, MANIFESTS, OpenStore, StoreError, user_name
from .store_pulled import GIVEN, PULLED, pulled_manifest, side_path, was_given
from .store_writing import made, opened_store, remove_unfinished, write_manifest


def give_names(target: str, model: str, names: list[str]) -> None:
    """Let further names name a model of this store.

    The order makes a run that is killed harmless: what a name had is kept before it is replaced, and until it is
    replaced, it is what counts (store_pulled.py).

    Args:
        target: path of the store.
        model: name of the model.
        names: its further names.

    Raises:
        StoreError: the store does not have the model, or something cannot be read or written.
    """
    try:
        with opened_store(target) as store, made(store, BLOBS) as blobs:
            remove_unfinished(store, blobs)
            manifest = store.manifest(parse(model))
            if manifest is None:
                raise StoreError("the store %s does not have %s" % (target, model))
            for name in map(parse, names):
                _restore(store, blobs, name)
                before, side = store.manifest(name), side_path(name)
                if before is not None and before.digest == manifest.digest:
                    continue
                # After _restore, what a name was given is still there only where nothing was pulled under it.
                if before is not None and not was_given(store, name, before):
                    write_manifest(store, blobs, before.raw, (PULLED, *side))
                write_manifest(store, blobs, manifest.raw, (GIVEN, *side))
                write_manifest(store, blobs, manifest.raw, (MANIFESTS, *store.exact(name)))
    except OSError as error:
        raise _not_changed(target, error)


def restore(target: str, name: str) -> None:
    """Give a name back the model that was pulled under it; one that has it already is left alone.

    Raises:
        StoreError: something cannot be read or written.
    """
    try:
        with opened_store(target) as store, made(store, BLOBS) as blobs:
            remove_unfinished(store, blobs)
            _restore(store, blobs, parse(name))
    except OSError as error:
        raise _not_changed(target, error)


def _restore(store: OpenStore, blobs: int, name: Name) -> None:
    there, pulled = store.manifest(name), pulled_manifest(store, name)
    if there is not None and pulled is not None and pulled.digest != there.digest:
        write_manifest(store, blobs, pulled.raw, (MANIFESTS, *store.exact(name)))


def _not_changed(target: str, error: OSError) -> StoreError:
    return StoreError(
        "cannot change the names of models in the store %s as %s: %s"
        % (target, user_name(os.geteuid()), error.strerror or error)
    )
