# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Load a model, or unload it. A loaded model that is older than the one in the store is loaded again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..common import sizes
from ..common.names import Name, normalise_digest
from . import replaced, staleness
from .client import LOAD_TIMEOUT, OllamaError, OllamaUnreachable
from .parameters import of_show
from .target import ModelError, Outcome, Target

#: Longest time to wait until an unloaded model is gone, in seconds.
UNLOAD_SECONDS = 30.0


def check_keep_alive(value: object) -> int | str:
    """Return keep_alive as the API takes it: seconds (negative means for ever), or a duration as Go writes it.

    Raises:
        ModelError: It is neither, or it is zero.
    """
    found = sizes.duration(value)
    if found is None:
        raise ModelError("keep_alive %r must be seconds, -1 (for ever) or a duration such as 10m or 1h30m" % (value,))
    if sizes.is_zero(found):
        raise ModelError("keep_alive 0 would unload the model at once; use state: unloaded for that")
    return found


def ensure_loaded(
    target: Target, name: Name, keep_alive: int | str = -1, check_mode: bool = False, names: Sequence[Name] = ()
) -> Outcome:
    """Load a model in the state in which it is in the store.

    Args:
        target: The instance.
        name: The model.
        keep_alive: How long it stays, as the API takes it.
        check_mode: Whether nothing may be changed.
        names: Further names of the model, under which it may be loaded as well.

    Returns:
        An Outcome with the action load, reload (it was loaded in an older state), keep_alive (it would have expired) or
        none.

    Raises:
        ModelError: The instance does not have the model, or cannot load it.
        OllamaError: From the server.
    """
    if check_mode and not target.reachable():
        return Outcome("load", None, 0, {"loaded": False}, {"loaded": True})
    target.require_server()
    digest = target.digest(name)
    if digest is None:
        if check_mode:  # an earlier task or entry would have brought it
            return Outcome("load", None, 0, {"loaded": False}, {"loaded": True})
        raise ModelError(
            "the server at %s has no model %s to load; bring it with state: present first" % (target.client.url, name)
        )
    entry = target.loaded(name, names)
    reason = _stale(target, name, digest, entry) if entry else None
    outdated = target.outdated([name, *names])
    if outdated and not reason:
        reason = "loaded from the older digest %s" % outdated[0]["digest"][:12]
    if entry is None and not reason:
        outcome = Outcome("load", digest, 0, {"loaded": False}, {"loaded": True})
    elif reason:
        outcome = Outcome("reload", digest, 0, {"loaded": True, "stale": reason}, {"loaded": True, "stale": None})
    elif entry is not None and staleness.expires(keep_alive, entry):
        outcome = Outcome("keep_alive", digest, 0, {"loaded": True, "kept": False}, {"loaded": True, "kept": True})
    else:
        return Outcome(digest=digest, loaded=_summary(entry) if entry else None)
    if not check_mode:
        entry = _load(target, name, keep_alive, bool(reason), names)
    outcome.loaded = _summary(entry) if entry else None
    return outcome


def _load(
    target: Target, name: Name, keep_alive: int | str, unload_first: bool, names: Sequence[Name]
) -> dict[str, Any]:
    """Load a model and return its entry of /api/ps."""
    try:
        if unload_first:
            unload(target, name, names)
        target.client.load(str(name), keep_alive=keep_alive, timeout=max(LOAD_TIMEOUT, target.client.timeout))
        entry = target.loaded(name, names)
    except OllamaUnreachable:
        raise
    except OllamaError as error:
        raise ModelError(
            "the server at %s cannot load %s: %s; the journal of its unit says more"
            % (target.client.url, name, error.message)
        )
    if entry is None:
        raise ModelError(
            "the server at %s loaded %s but no longer lists it: its engine died or another model took its place; "
            "see the journal of its unit" % (target.client.url, name)
        )
    return entry


def _stale(target: Target, name: Name, digest: str, entry: dict[str, Any]) -> str | None:
    """Return why a loaded model is not the one in the store, or None."""
    show = target.client.show(str(name))
    asked = of_show(show.get("parameters")).get("num_ctx")
    return staleness.stale_reason(digest, entry, asked, staleness.trained_context(show))


def _summary(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "size_bytes": entry.get("size"),
        "size_vram_bytes": entry.get("size_vram"),
        "context_length": entry.get("context_length"),
        "expires_at": entry.get("expires_at"),
    }


def unload(target: Target, name: Name, names: Sequence[Name] = ()) -> None:
    """Unload a model and wait until it is gone: the server answers before its engine has ended.

    Args:
        target: The instance.
        name: The model.
        names: Its further names, under which it may be loaded. The server unloads the engine of the model's file.

    Raises:
        ModelError: The model was deleted while it was loaded, or a request is using it.
        OllamaError, StoreError: From the server, the store.
    """
    try:
        _ask_to_unload(target, name, names)
    except OllamaError as error:
        if error.status != 404:
            raise
        raise ModelError(
            "%s was deleted while it was loaded, so the server at %s cannot unload it by name; restart its unit, "
            "or wait until it expires" % (name, target.client.url)
        )
    deadline = time.monotonic() + UNLOAD_SECONDS
    while target.loaded(name, names) is not None or target.outdated([name, *names]):
        if time.monotonic() > deadline:
            raise ModelError(
                "%s is still loaded %d seconds after the server was told to unload it, so a request is using it; "
                "run again when the request has ended" % (name, UNLOAD_SECONDS)
            )
        time.sleep(0.1)


def _ask_to_unload(target: Target, name: Name, names: Sequence[Name]) -> None:
    """Tell the server to unload a model: by its name, and by one of the model that it was when it was loaded, where it
    has another file by now (server/sched.go of Ollama 0.32, expireRunner: it looks for the engine of the name's file).
    """
    store = target.store
    for entry in target.outdated([name, *names]):
        if store is None:
            break
        with replaced.named(store, normalise_digest(entry["digest"])) as before:
            if before is not None:
                target.client.unload(str(before))
    target.client.unload(str(name))


def ensure_unloaded(target: Target, name: Name, check_mode: bool = False, names: Sequence[Name] = ()) -> Outcome:
    """Unload a model.

    Args:
        target: The instance.
        name: The model.
        check_mode: Whether nothing may be changed.
        names: Further names of the model, under which it may be loaded.

    Raises:
        ModelError, OllamaError: It cannot be unloaded.
    """
    if check_mode and not target.reachable():
        return Outcome()
    target.require_server()
    entry = target.loaded(name, names)
    digest = target.digest(name)
    if entry is None:
        return Outcome(digest=digest)
    if not check_mode:
        unload(target, name, names)
    return Outcome("unload", digest, 0, {"loaded": True}, {"loaded": False})
