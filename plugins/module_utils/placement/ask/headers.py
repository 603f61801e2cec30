# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The headers of models, which are read apart from what the user wants of them."""

from __future__ import annotations

from typing import Any, Sequence

from ...common.names import InvalidName, parse
from ..errors import PlacementError
from .drafts import draft_name, with_draft
from .own_adapters import with_adapter


def with_headers(
    models: list[dict[str, Any]], headers: list[dict[str, Any]], adapters: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The entries of `models` with the last of the headers that are named as they are, and as their draft models are.

    A header that replaces one from a registry gets the digest of that one as `registry_digest`.

    Args:
        models: entries of placement_info's models.
        headers: what model_info returned for models, in any order.
        adapters: what it returned for adapters of the user's, with the names of their models.

    Raises:
        PlacementError: an entry, its draft model or its adapter has no header, or that cannot be one.
    """
    by_name: dict[Any, dict[str, Any]] = {}
    for header in headers:
        name = _full(header.get("name"))
        before = by_name.get(name)
        offered = None
        if before is not None:
            offered = before["digest"] if before.get("source") == "registry" else before.get("registry_digest")
        by_name[name] = header if offered is None else dict(header, registry_digest=offered)
    joined = [dict(model, model=model["model"] or by_name.get(_full(model["name"]))) for model in models]
    for model in joined:
        if model["model"] is None:
            raise PlacementError(
                "models has no header of %s: give what model_info returned for it as model, or in headers."
                % model["name"]
            )
        draft = draft_name(model)
        if draft is not None:
            model["model"] = with_draft(model, by_name.get(_full(draft)))
        model["model"] = with_adapter(model, adapters)
    return joined


def _full(name: Any) -> Any:
    """A name in full, as model_info gives it; one that is none stays as it is, for make_plan to refuse."""
    try:
        return str(parse(name))
    except InvalidName:
        return name
