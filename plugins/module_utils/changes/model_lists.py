# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Several lists of models as one: a list for all hosts, others for groups and hosts, each in its own variable. Pure.

Which of two variables is the more specific one cannot be known, because Ansible merges the groups of a host before. So
what two lists say of a model is put together, and where both say something else, the user has to decide.
"""

from __future__ import annotations

import difflib
from typing import Any, Dict, List, Mapping, Tuple

from ..common.names import key_of

#: The list that the others are added to, and how their names begin.
MODELS = "ollama_multigpu_models"
_PREFIX = MODELS + "_"
#: A variable that only looks like one of a list.
_NO_LISTS = frozenset((_PREFIX + "dir",))


def is_list_name(name: str) -> bool:
    """Return whether a variable has the name of a further list of models."""
    return name.startswith(_PREFIX) and len(name) > len(_PREFIX) and name not in _NO_LISTS


def merged_models(models: Any, lists: Mapping[str, Any]) -> Any:
    """Return all models as one list: those of ollama_multigpu_models, then those of the other lists by their names.

    A model that several lists name is one, with the keys of all. Of a key that they give several values the first
    counts; `merge_problems` refuses that.

    Args:
        models: the value of ollama_multigpu_models; one that is no list is returned as it is.
        lists: {variable: value} of the other lists; those that are no lists are left out.
    """
    if not lists or not isinstance(models, (list, type(None))):
        return models
    return _merged(models, lists)[0]


def merge_problems(models: Any, lists: Mapping[str, Any]) -> List[str]:
    """Return one sentence for each thing that keeps lists of models from being one.

    Args:
        models: the value of ollama_multigpu_models, before it was merged.
        lists: {variable: value} of the other lists.
    """
    problems = [
        "%s is a %s: give a list of models, as in %s%s" % (name, _kind(value), MODELS, _meant(name))
        for name, value in sorted(lists.items())
        if value is not None and not isinstance(value, list)
    ]
    if isinstance(models, (list, type(None))):
        problems += _merged(models, lists)[1]
    return problems


def _meant(name: str) -> str:
    """A variable that has no list and nearly the same name."""
    close = difflib.get_close_matches(name, sorted(_NO_LISTS), n=1, cutoff=0.9)
    return " (or did you mean %s?)." % close[0] if close else "."


def _kind(value: Any) -> str:
    return "mapping" if isinstance(value, Mapping) else "single value"


def _merged(models: Any, lists: Mapping[str, Any]) -> Tuple[List[Any], List[str]]:
    """All models, and the problems of those that two lists name."""
    found: List[Any] = []
    problems: List[str] = []
    #: {key of a name: (place in `found`, {path of a key: list that gave it})} of the lists before.
    known: Dict[str, Tuple[int, Dict[str, str]]] = {}
    for variable, entries in [(MODELS, models), *sorted(lists.items())]:
        new: Dict[str, Tuple[int, Dict[str, str]]] = {}
        for entry in entries if isinstance(entries, list) else []:
            name = entry.get("name") if isinstance(entry, Mapping) else None
            key = key_of(name) if isinstance(name, str) else None
            if key in known and key not in new:
                place, givers = known[str(key)]
                found[place], told = _joined(found[place], entry, givers, variable)
                problems += told
                continue
            if key is not None:
                new[key] = (len(found), dict.fromkeys(_paths(entry), variable))
            found.append(entry)
        known.update({key: value for key, value in new.items() if key not in known})
    return found, problems


def _joined(
    first: Mapping[str, Any], second: Mapping[str, Any], givers: Dict[str, str], variable: str
) -> Tuple[Dict[str, Any], List[str]]:
    """A model with the keys of two entries, and where they contradict each other. `givers` is brought up to date."""
    problems: List[str] = []

    def join(one: Mapping[str, Any], other: Mapping[str, Any], above: str) -> Dict[str, Any]:
        result = dict(one)
        for key, value in other.items():
            path = above + str(key)
            if key not in one:
                result[key] = value
                givers.update(dict.fromkeys(_paths({key: value}, above), variable))
            elif isinstance(one[key], Mapping) and isinstance(value, Mapping):
                result[key] = join(one[key], value, path + ".")
            elif path != "name" and one[key] != value:
                problems.append(
                    "%s and %s say otherwise of %s: %s is %.100r in the first and %.100r in the second. Give it in "
                    "one of them only, or the same in both."
                    % (givers.get(path, MODELS), variable, first["name"], path, one[key], value)
                )
        return result

    return join(first, second, ""), problems


def _paths(entry: Mapping[str, Any], above: str = "") -> List[str]:
    """The keys of an entry and of the mappings in it: "optimized", "optimized.parameters.temperature"."""
    found: List[str] = []
    for key, value in entry.items():
        found.append(above + str(key))
        if isinstance(value, Mapping):
            found += _paths(value, "%s%s." % (above, key))
    return found
