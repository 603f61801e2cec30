# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The parameters that a model brings along: they act on every load of it, and of every model that is created from it.

Source: Ollama v0.32.15 server/create.go (`setParameters`: what a request names wins, all else is kept),
server/routes.go (`modelOptions`) and api/types.go (`Options.FromMap`: a wrong type ends the load, a null changes
nothing but counts as set). The same at every release from 0.5.13 on.
"""

from __future__ import annotations

import math
from typing import Any, Mapping, Optional

from ...ollama import parameters as known
from ..errors import PlacementError

#: What a parameter is that is set to null (api/types.go, `DefaultOptions`); that of the others is "not set".
_VALUE_OF_NULL = {"num_batch": 512, "draft_num_predict": 4}
# Own parameters that a plan takes over where the user sets nothing else, and the setting that replaces them.
_PLANNED = {"num_ctx": "context_length", "num_batch": "ubatch"}
# Own parameters that would undo a plan, and what is written into the optimized model in their place: num_gpu -1 is
# Ollama's default, and of main_gpu null is.
_REPLACED = {"num_gpu": -1, "main_gpu": None}
_TYPE_IN_WORDS = {known.INTEGER: "an integer of 32 bits", known.TEXTS: "an array of texts"}
# What decides on a load, as releases.shapes.LoadRequest takes it.
_OF_A_LOAD = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "draft_num_predict")


def own_options(own: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """What a model's own parameters set of a load, as whole numbers; without what cannot be read.

    Args:
        own: ModelFacts.parameters.
    """
    found = {}
    for name, given in (own or {}).items():
        value = _VALUE_OF_NULL.get(name) if given is None else given
        if name in _OF_A_LOAD and value is not None and _is_integer(value):
            found[name] = int(value)
    if found.get("num_batch", 1) < 1:
        found["num_batch"] = _VALUE_OF_NULL["num_batch"]  # it is not passed on, and so is the engine's own
    return found


def fault(own: Optional[Mapping[str, Any]]) -> Optional[tuple[str, str]]:
    """(the first parameter of a wrong type, the type that it must have), or None: Ollama does not load such a model."""
    for name in sorted(own or {}):
        kind = known.TYPES.get(name)
        if kind and name not in known.RETIRED and not _has_type((own or {})[name], kind):
            return name, _TYPE_IN_WORDS.get(kind, kind)
    return None


def settings_of(
    own: Optional[Mapping[str, Any]], entry: Mapping[str, Any], parameters: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], list[str]]:
    """The user's parameters with the model's own context and batch where the user sets neither.

    Args:
        own: ModelFacts.parameters.
        entry: of placement_info's models.
        parameters: the user's, checked.
        name: of the model, for the messages.

    Returns:
        (parameters to plan with, what the user should know of the model's own ones).

    Raises:
        PlacementError: Ollama could not load a model that keeps them.
    """
    replaced = {**parameters, **_REPLACED, "num_ctx": None}
    replaced.update({parameter: None for parameter, setting in _PLANNED.items() if _is_set(entry.get(setting))})
    wrong = fault({key: value for key, value in (own or {}).items() if key not in replaced})
    if wrong:
        raise PlacementError(
            "%s has the parameter %s %.80r of its own, and Ollama cannot load it: it must be %s; set %s in "
            "optimized.parameters." % (name, wrong[0], (own or {})[wrong[0]], wrong[1], wrong[0])
        )
    found, notes = dict(parameters), []
    mine = own_options(own)
    for parameter, setting in _PLANNED.items():
        if parameter in mine and not _is_set(entry.get(setting)) and parameter not in parameters:
            found[parameter] = max(mine[parameter], 4) if parameter == "num_ctx" else mine[parameter]
            notes.append(
                "%s has %s %s of its own, %s; set %s for another value."
                % (name, parameter, *_planned_as((own or {})[parameter], found[parameter]), setting)
            )
    for parameter, text in (
        ("num_gpu", "the plan decides how many layers go to GPUs, and the optimized model has num_gpu of the plan"),
        ("main_gpu", "it would put the whole model on one GPU, and the optimized model has main_gpu: null instead"),
    ):
        if parameter in _to_replace(own) and parameter not in parameters:
            notes.append("%s has %s %.40r of its own; %s." % (name, parameter, (own or {})[parameter], text))
    return found, notes


def _planned_as(given: Any, planned: int) -> tuple[str, str]:
    """(an own parameter as the model has it, what is planned of it) in words."""
    if given == planned:
        return str(planned), "which is planned"
    return "null" if given is None else "%.40r" % given, "for which Ollama takes %d, and that is planned" % planned


def replacements(own: Optional[Mapping[str, Any]], planned: Mapping[str, Any]) -> dict[str, Any]:
    """What the optimized model must have so that the model's own parameters do not undo the plan.

    Args:
        own: ModelFacts.parameters.
        planned: the parameters that the plan gives it.
    """
    return {name: _REPLACED[name] for name in _to_replace(own) if name not in planned}


def _to_replace(own: Optional[Mapping[str, Any]]) -> list[str]:
    """The own parameters that change where a model goes: not null, and for num_gpu not Ollama's default."""
    found = []
    for name in _REPLACED:
        value = (own or {}).get(name)
        if value is not None and not (name == "num_gpu" and _is_integer(value) and int(value) < 0):
            found.append(name)
    return found


def _is_set(value: Any) -> bool:
    return value is not None and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _is_integer(value: Any) -> bool:
    """Whether a number is none that the engine's options cannot hold (of 32 bits); what is behind a point is cut."""
    return _is_number(value) and abs(value) < 2**31


def _has_type(value: Any, kind: str) -> bool:
    if value is None:
        return True
    if kind == known.INTEGER:
        return _is_integer(value)
    if kind == known.NUMBER:
        return _is_number(value)
    if kind == known.BOOLEAN:
        return isinstance(value, bool)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
