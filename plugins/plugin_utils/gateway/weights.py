# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Weights of the models of an alias: ollama_gateway_weights. Pure.

A client, and who writes a weight, calls a model by its plain name; an instance serves it under another one where it is
optimized. So a weight may have each name of the model that tells it apart from the other models of the alias.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import ServedModel
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName, key_of, parse
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

#: Weight of a server whose model has no weight of its own. HAProxy takes 0 to 256.
WEIGHT = 100
HIGHEST_WEIGHT = 256
_FORM = "give each alias its models with a weight each, such as {chat: {llama3.1:8b: 90, qwen3:8b: 10}}"


class Weights:
    """What ollama_gateway_weights says.

    Args:
        given: {alias: {model: weight}}.
        names: every name that clients may use.

    Raises:
        GatewayError: another form, a name or a weight that is none, or an alias that nobody serves.
    """

    def __init__(self, given: Any, names: Sequence[str]) -> None:
        # Keys of names to {key of a model: (its name as it was given, weight)}.
        self._given: dict[str, dict[str, tuple[str, int]]] = {}
        served = {key_of(name) for name in names}
        for alias, models in _checked(given).items():
            key = _key(alias)
            if key not in served:
                raise GatewayError(
                    "ollama_gateway_weights has %s, and no endpoint serves it; there are: %s."
                    % (alias, ", ".join(names) or "none")
                )
            self._given.setdefault(key, {}).update({_key(name): (name, weight) for name, weight in models.items()})

    def of(self, alias: str, models: Iterable[ServedModel]) -> dict[str, int]:
        """Return the weights of the models of an alias, by the names under which they are served.

        Raises:
            GatewayError: a weight of another model, or two of one.
        """
        given = self._given.get(key_of(alias), {})
        allowed = _names(alias, models) if given else {}
        found: dict[str, list[str]] = {
            model: [key for key in map(key_of, names) if key in given] for model, names in allowed.items()
        }
        unknown = set(given).difference(*found.values())
        if unknown:
            raise GatewayError(
                "ollama_gateway_weights gives %s a weight of the model %s, and it stands for %s: give one of these."
                % (
                    alias,
                    ", ".join(sorted(given[key][0] for key in unknown)),
                    ", ".join(" or ".join(names) for names in allowed.values()),
                )
            )
        # Its served name goes before one that a model on another host is served under.
        used = {model: keys[0] for model, keys in found.items() if keys}
        for model, keys in found.items():
            if set(keys) - set(used.values()):
                raise GatewayError(
                    "ollama_gateway_weights gives %s two weights of one model, %s: leave one of them."
                    % (alias, " and ".join(given[key][0] for key in keys))
                )
        return {model: given[key][1] for model, key in used.items()}


def _names(alias: str, models: Iterable[ServedModel]) -> dict[str, list[str]]:
    """The names by which a weight of each model may be given: neither the alias nor what all of them are called."""
    names: dict[str, list[str]] = {}
    for model in models:
        names.setdefault(model.name, []).extend(model.names)
    keys = [set(map(key_of, called)) for called in names.values()]
    shared = {key_of(alias)} | (set.intersection(*keys) if len(keys) > 1 else set())
    return {
        served: [served, *dict.fromkeys(one for one in called if key_of(one) not in shared | {key_of(served)})]
        for served, called in names.items()
    }


def _key(name: Any) -> str:
    try:
        return parse(name).key()
    except InvalidName as error:
        raise GatewayError("ollama_gateway_weights: %s." % error)


def _checked(given: Any) -> Mapping[Any, Mapping[Any, int]]:
    if not isinstance(given, Mapping):
        raise GatewayError("ollama_gateway_weights is %r; %s." % (given, _FORM))
    for alias, models in given.items():
        if not isinstance(models, Mapping):
            raise GatewayError("ollama_gateway_weights gives %s the value %r; %s." % (alias, models, _FORM))
        for name, weight in models.items():
            if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= HIGHEST_WEIGHT:
                raise GatewayError(
                    "The weight %r of %s in ollama_gateway_weights is not a number from 0 to %d; give one."
                    % (weight, name, HIGHEST_WEIGHT)
                )
    return given
