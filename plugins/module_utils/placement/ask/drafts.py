# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Draft models that the user names: their model file becomes the draft layer of the optimized model. Pure."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional

from ...common.names import key_of
from ..errors import PlacementError
from .speculative import check_option


def draft_name(entry: Mapping[str, Any]) -> Optional[str]:
    """The draft model that an entry of the models names, None where it names none.

    Raises:
        PlacementError: its `speculative` cannot be.
    """
    return check_option(entry, str(entry.get("name"))).get("draft") or None


def models_to_read(models: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The models whose headers a plan needs: those that are given, and the draft models that they name.

    Args:
        models: entries of placement_info's or the role's models.

    Returns:
        The entries, and after them each draft model that is not among them: {name}, with what its model says of
        `insecure` and `refresh`.

    Raises:
        PlacementError: the `speculative` of one cannot be.
    """
    found = [dict(entry) for entry in models]
    known = {key_of(str(entry["name"])) for entry in found}
    for entry in list(found):
        name = draft_name(entry)
        if name is not None and key_of(name) not in known:
            known.add(key_of(name))
            said = {key: entry[key] for key in ("insecure", "refresh") if entry.get(key) is not None}
            found.append(dict(said, name=name))
    return found


def with_draft(entry: Mapping[str, Any], draft: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a model, with those of the draft model that the user names.

    Args:
        entry: of placement_info's models, with the facts of the model as `model`.
        draft: facts of the draft model as model_info returns them; None where they are not given.

    Raises:
        PlacementError: they are not given, or its model file alone is not the whole model.
    """
    name, named = entry["name"], draft_name(entry)
    if draft is None:
        raise PlacementError(
            "models has no header of %s, the draft model of %s: give what model_info returned for it in headers."
            % (named, name)
        )
    if (draft.get("split_count") or 1) > 1:
        raise PlacementError(
            "speculative.draft %s of %s has %d model files, of which Ollama writes a new one whose digest is not known "
            "before; name a draft model with one file." % (named, name, draft["split_count"])
        )
    if draft.get("projector_separate"):
        raise PlacementError(
            "speculative.draft %s of %s has a projector beside its model file; name a draft model of one file."
            % (named, name)
        )
    # Only the model file becomes the layer; what the manifest has beside it stays behind.
    return dict(entry["model"], draft=dict(draft, parameters=None, adapters=[], draft=None))
