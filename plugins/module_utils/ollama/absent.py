# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make a model absent from an instance."""

from __future__ import annotations

from ..common.names import Name
from . import replaced
from .loading import unload
from .target import Outcome, Target


def ensure_absent(target: Target, name: Name, check_mode: bool = False, keep_blobs: bool = False) -> Outcome:
    """Remove a model from this instance. Other stores keep theirs.

    A loaded model is unloaded first: the server cannot unload it by name after it was deleted. With `keep_blobs` its
    blobs stay in the store.

    Raises:
        ModelError, OllamaError, StoreError: It cannot be unloaded or removed.
    """
    digest = target.digest(name)
    if target.store is None and not check_mode:
        target.require_server()
    if digest is None and (target.reachable() or target.store is None or target.store.manifest(name) is None):
        return Outcome()
    if not check_mode:
        if target.reachable():
            if target.loaded(name):
                unload(target, name)
            if not keep_blobs or target.store is None:
                target.client.delete(str(name))
        if keep_blobs and target.store is not None:
            replaced.forget(target.store, name)
        # Also what was pulled under that name, of which a server knows nothing.
        elif target.store is not None and (not target.reachable() or target.store.has_record(name)):
            target.store.remove(name)
        target.forget()
    return Outcome("delete", None, 0, {"digest": digest}, {"digest": None})
