# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models have to be read on a host, because no registry has the header of the model there. Pure.

A model that a host has stays as it is, unless it is refreshed, so its plan is made from what the host has: a tag may
have moved in the registry since, a registry may serve a header that is not that of the file, and a model that was made
on the host is in none.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from ..common import paths
from ..common.names import InvalidName, full_name
from .model_entries import find, has_digest, pulled_digest


def headers_to_read(
    offered: Iterable[Mapping[str, Any]],
    models: Iterable[Mapping[str, Any]],
    host: Mapping[str, Any],
    models_dir: str,
    refresh: Any = False,
) -> list[dict[str, str]]:
    """Return the models that the host has with another digest or header than the registry offers, or that the registry
    does not offer.

    Args:
        offered: facts of the models from the registry (module model_info), of those that it has.
        models: the models as the user wants them, with `name` and perhaps a pinned `digest`, and `refresh`.
        host: of module host_info.
        models_dir: the parent of the instances' stores.
        refresh: whether models that do not say it are refreshed: what the registry offers replaces what the host has.

    Returns:
        [{name, store}]: each model with the store that has it. One that has the digest of a pin counts alone, if the
        model is pinned; such a model is not refreshed.
    """
    by_name = {facts["name"]: facts for facts in offered}
    found = []
    for model in models:
        facts = by_name.get(_full(model["name"]))
        store, digest = _held(model, host, models_dir)
        if not store:
            continue
        if facts is None:
            found.append({"name": str(model["name"]), "store": store})
            continue
        applied = _applied_headers(host, facts["name"], digest)
        if model.get("source"):
            continue  # a file of the user is read where it is, and replaces what the host has
        if digest != facts.get("digest") and not model.get("digest") and _is_true(model.get("refresh"), refresh):
            continue
        if digest != facts.get("digest") or applied is not None and applied != facts.get("headers"):
            found.append({"name": str(model["name"]), "store": store})
    return found


def _is_true(value: Any, otherwise: Any) -> bool:
    """A boolean as Ansible reads it; `otherwise` counts where there is none."""
    given = otherwise if value is None else value
    return given is True or str(given).strip().lower() in ("y", "yes", "on", "1", "true", "t")


def _held(model: Mapping[str, Any], host: Mapping[str, Any], models_dir: str) -> tuple[str, str]:
    """The first store that has a model, and its digest there; ("", "") without one. The instances' stores go first."""
    own = [paths.store(models_dir, entry["name"]) for entry in host["instances"] if entry["store"]]
    pin = model.get("digest") or ""
    for path in own + [path for path in host["stores"] if path not in own]:
        store = host["stores"].get(path) or {}
        entry = find(store.get("models"), str(model["name"]))
        if entry is not None and not store.get("problems") and has_digest(entry, pin):
            held = pulled_digest(entry)
            if held is not None:
                return path, held
    return "", ""


def _applied_headers(host: Mapping[str, Any], name: str, digest: str) -> Any:
    """The headers that the applied plan was made from for a model with a digest; None where it does not say.

    They were compared with the files before the models were loaded, and only then was that plan written.
    """
    try:
        for instance in host["applied_plan"]["instances"]:
            for model in instance["models"]:
                for one in filter(None, (model, model.get("draft"))):
                    if _full(one["name"]) == name and one["planned_digest"] == digest:
                        return one["headers"]
    except (KeyError, TypeError):
        pass  # none, damaged, or written by another version of this collection
    return None


def _full(name: Any) -> str:
    """A name with its tag; one that is no valid name stays as it is, for the plan to refuse."""
    try:
        return full_name(str(name))
    except InvalidName:
        return str(name)
