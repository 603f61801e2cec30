# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which entry of /api/ps is which model of a plan: a server lists a model by the name under which it was loaded."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, Optional

from ..common.names import key_of, served_name
from ..ollama.client import OllamaError

_Entry = dict[str, Any]


def entries(
    models: Iterable[dict[str, Any]], loaded: Iterable[_Entry], tags: Callable[[], list[_Entry]]
) -> dict[str, _Entry | None]:
    """Return {name that a model is served under: its entry of /api/ps, or None where it is not loaded}.

    A model that was loaded under another name counts where it is the same manifest: a server keeps the name of the
    request that loaded it, also where that name, an alias, names another model by now.

    Args:
        models: of an instance of the plan.
        loaded: the entries of /api/ps.
        tags: asks for the entries of /api/tags; only called where a model may have been loaded under another name. It
            may raise OllamaError.
    """
    by_key = {key_of(entry["name"]): entry for entry in loaded}
    models = list(models)
    served = {key_of(served_name(model)) for model in models}
    others = [entry for key, entry in by_key.items() if key not in served]
    found: dict[str, _Entry | None] = {}
    for model in models:
        name = served_name(model)
        found[name] = by_key.get(key_of(name)) or (_of_digest(others, name, tags) if others else None)
    return found


def file_of(shown: Mapping[str, Any]) -> Optional[str]:
    """Return the base name of a model's blob, from the FROM line of its Modelfile; None where it has none.

    Args:
        shown: what /api/show says of the model, {} where it says nothing.
    """
    lines = (shown.get("modelfile") or "").splitlines()
    named = (line for line in lines if line.startswith("FROM ") and "sha256-" in line)
    return next((line.split("/")[-1].strip() for line in named), None)


def _of_digest(others: list[_Entry], name: str, tags: Callable[[], list[_Entry]]) -> _Entry | None:
    """The first of these entries that has the digest of a model in the store."""
    try:
        digests = {key_of(entry["name"]): entry.get("digest") for entry in tags()}
    except OllamaError:
        return None
    wanted = digests.get(key_of(name))
    return next((entry for entry in others if wanted and entry.get("digest") == wanted), None)
