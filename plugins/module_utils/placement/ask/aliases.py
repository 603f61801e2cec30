# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Aliases of models: names that clients use and that stay while the model behind them changes.

On a host an alias names one model. Ollama ignores the case of names, and so do these checks. Pure.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ...common import names
from ..errors import PlacementError


def aliases_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the aliases of a model as /api/tags shows them, each once, without the names that it has anyway.

    Args:
        entry: a model as placement_info takes it; its own name is a valid one.

    Raises:
        PlacementError: an alias that is no name.
    """
    given = entry.get("aliases")
    if given is not None and not isinstance(given, (list, tuple)):
        raise PlacementError(
            "aliases of %s is %.80r: give a list of names, for example [chat]." % (entry["name"], given)
        )
    known = {names.key_of(name) for name in _own_names(entry)}
    found = []
    for text in given or ():
        try:
            alias = names.full_name(text)
        except names.InvalidName as error:
            raise PlacementError("aliases of %s: the %s." % (entry["name"], error))
        if names.key_of(alias) not in known:
            known.add(names.key_of(alias))
            found.append(alias)
    return tuple(found)


def check_aliases(models: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an alias that names two models of a host.

    Args:
        models: all models of a host as placement_info takes them, with valid names.

    Raises:
        PlacementError: two models have one alias, or an alias is the name of another model.
    """
    named: dict[str, str] = {}
    for entry in models:
        for name in _own_names(entry):
            named.setdefault(names.key_of(name), str(entry["name"]))
    given: dict[str, str] = {}
    for entry in models:
        for alias in aliases_of(entry):
            key, name = names.key_of(alias), names.optimized_name(entry["name"], _suffix(entry))
            if key in named:
                raise PlacementError(
                    "The alias %s of %s is a name of the model %s: give another alias, or leave that model out."
                    % (alias, entry["name"], named[key])
                )
            if key in given:
                raise PlacementError(
                    "%s is an alias of %s and of %s: on a host an alias names one model, so give it to one of them."
                    % (alias, given[key], name)
                )
            given[key] = name


def _own_names(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The plain name of a model, and that of the optimized one."""
    return str(entry["name"]), names.optimized_name(entry["name"], _suffix(entry))


def _suffix(entry: Mapping[str, Any]) -> str:
    suffix = (entry.get("optimized") or {}).get("suffix")
    return names.DEFAULT_SUFFIX if suffix is None else suffix
