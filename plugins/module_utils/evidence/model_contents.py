# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the models of a plan contain on a running server, or in the store of one that does not run, so that it can be
compared without asking again."""

from __future__ import annotations

import contextlib
from typing import Any

from ..common.names import InvalidName, Name, draft_name, full_name, parse
from ..ollama import model_content
from ..ollama.client import OllamaClient, OllamaError
from ..ollama.fingerprint import fingerprint
from ..ollama.modelfile_parser import ModelfileError
from ..ollama.staleness import trained_context
from ..ollama.store import Store, StoreError
from ..ollama.target import content_in


def read_contents(client: OllamaClient, instance: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ask a server what the models that an instance should have contain.

    Args:
        client: of the instance's server.
        instance: of the plan.

    Returns:
        {name with its tag: content}: the fingerprint (ollama/fingerprint.py), `trained_context` and `num_ctx`.
        Models that the server does not have, or does not describe, are left out. A name that was given to another model
        (ollama/store_pulled.py) has the content that was pulled under it, and its `pulled_digest`, None where that is
        not complete.
    """
    found = {}
    for name in _names(instance):
        try:
            show = client.show(name)
        except OllamaError:
            continue
        content = model_content.content_of_show(show)
        found[full_name(name)] = {
            "content": fingerprint(content),
            "num_ctx": content["parameters"].get("num_ctx"),
            "trained_context": trained_context(show),
        }
        with contextlib.suppress(StoreError, InvalidName, ModelfileError):
            found[full_name(name)].update(_pulled(instance.get("store"), parse(name)))
    return found


def stored_contents(instance: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what `read_contents` returns, of an instance whose server does not answer, from its store.

    Args:
        instance: of the plan.
    """
    found: dict[str, dict[str, Any]] = {}
    if not instance.get("store"):
        return found
    store = Store(instance["store"])
    for name in _names(instance):
        with contextlib.suppress(StoreError, InvalidName, ModelfileError):
            content = content_in(store, parse(name), pulled=True)
            if content is not None:
                found[full_name(name)] = {
                    "content": fingerprint(content),
                    "num_ctx": content["parameters"].get("num_ctx"),
                    "trained_context": None,
                    **_pulled(instance["store"], parse(name)),
                }
    return found


def _pulled(store: str | None, name: Name) -> dict[str, Any]:
    """What was pulled under a name that was given to another model since; {} for every other name."""
    there = Store(store) if store else None
    if there is None or not there.is_renamed(name):
        return {}
    manifest = there.complete(name, pulled=True)
    content = content_in(there, name, pulled=True)
    if manifest is None or content is None:
        return {"pulled_digest": None}
    return {"pulled_digest": manifest.digest, "content": fingerprint(content)}


def _names(instance: dict[str, Any]) -> list[str]:
    """Every model that an instance needs, once: those that are made, and those that they are made from."""
    names = [
        name
        for model in instance.get("models") or []
        for name in (model["name"], model.get("from"), model.get("create_as"), draft_name(model))
        if name
    ]
    return list(dict.fromkeys(names))
