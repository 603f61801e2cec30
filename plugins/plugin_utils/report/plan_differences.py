# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Two plans of a host: what differs, in words. Pure.

What is free on a GPU at the moment is no difference; neither is what only explains the plan.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.differences import value_in_words
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import HIDDEN
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import gpu_labels
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import (
    ModelPlace,
    and_list,
    model_places,
    place_text,
)

#: Predictions that differ by less are the same to people.
_NEXT_TO_NOTHING = 16 * 1024**2
#: Keys of a model in an instance of the plan, with the words for people.
_OF_MODELS = {
    "context_length": "context length",
    "parallel": "slots",
    "kv_cache_type": "KV cache type",
    "keep_alive": "keep_alive",
    "digest": "digest",
    "resident": "resident",
    "cpu_experts": "experts on the CPU",
    "system": "system text",
    "template": "template",
}
_LONGEST_VALUE = 60


def plan_differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a phrase for each thing that differs; [] where the plans say the same.

    Args:
        before: the plan in force, {} where there is none.
        after: the new one.
    """
    if not before:
        return ["there was no plan"]
    said = []
    if before.get("ollama_version") != after.get("ollama_version"):
        said.append("Ollama %s -> %s" % (before.get("ollama_version"), after.get("ollama_version")))
    if not after.get("feasible"):
        return [*said, "the new plan has no place for every model"]
    old, new = model_places(before), model_places(after)
    labels = {**gpu_labels(before), **gpu_labels(after)}
    said += ["%s is new, %s" % (name, place_text(place, labels)) for name, place in new.items() if name not in old]
    said += ["%s is gone" % name for name in old if name not in new]
    for name in (name for name in new if name in old):
        said += ["%s: %s" % (name, phrase) for phrase in _of_model(before, after, (old[name], new[name]), labels)]
    return said + addresses_that_change(before, after) + _of_environments(before, after)


def _of_model(
    before: dict[str, Any], after: dict[str, Any], places: tuple[ModelPlace, ModelPlace], labels: dict[str, str]
) -> list[str]:
    old, new = places
    said = []
    if (old.gpu_sets, old.strategy) != (new.gpu_sets, new.strategy):
        said.append("%s -> %s" % (place_text(old, labels), place_text(new, labels)))
    elif old.layers != new.layers:
        said.append("%s layers -> %s" % (" + ".join(map(str, old.layers)), " + ".join(map(str, new.layers))))
    if old.served != new.served:
        said.append("served as %s -> %s" % (old.served, new.served))
    if set(old.aliases) != set(new.aliases):
        said.append("aliases %s -> %s" % (and_list(old.aliases) or "none", and_list(new.aliases) or "none"))
    entries = _entry(before, new.name), _entry(after, new.name)
    for key, words in _OF_MODELS.items():
        values = [entry.get(key) for entry in entries]
        if values[0] != values[1]:
            said.append("%s %s" % (words, _changed(*values)))
    said += _of_mapping(*[entry.get("parameters") or {} for entry in entries])
    if abs(old.bytes_of_one - new.bytes_of_one) >= _NEXT_TO_NOTHING:
        said.append("memory %s -> %s, %s" % (gib(old.bytes_of_one), gib(new.bytes_of_one), new.basis))
    return said


def _entry(plan: dict[str, Any], name: str) -> dict[str, Any]:
    """The first entry of a model in the instances of a plan."""
    for instance in plan["instances"]:
        for model in instance["models"]:
            if model["name"] == name:
                return model
    return {}


def _of_mapping(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    names = sorted(set(before) | set(after))
    return [
        "%s %s" % (name, _changed(before.get(name), after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _changed(old: Any, new: Any) -> str:
    if HIDDEN in (old, new):
        return "changes (its value is not shown)"
    return "%s -> %s" % (_value(old), _value(new))


def _value(value: Any) -> str:
    text = value_in_words(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def addresses_that_change(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return which addresses serve something else than before, come or go."""
    old, new = _served_at(before), _served_at(after)
    said = []
    for url in sorted(set(old) | set(new)):
        if url not in old:
            said.append("%s is new and serves %s" % (url, and_list(new[url])))
        elif url not in new:
            said.append("%s is gone; it served %s" % (url, and_list(old[url])))
        elif old[url] != new[url]:
            said.append("%s serves %s instead of %s" % (url, and_list(new[url]), and_list(old[url])))
    return said


def _served_at(plan: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in model_places(plan).values():
        for url in place.urls:
            found.setdefault(url, []).append(place.served)
    return found


def _of_environments(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What the environments of instances that both plans have say otherwise."""
    old = {instance["name"]: instance.get("environment") or {} for instance in before["instances"]}
    said: dict[str, list[str]] = {}
    for instance in after["instances"]:
        values = [dict(one) for one in (old.get(instance["name"], instance["environment"]), instance["environment"])]
        for one in values:
            one.pop("OLLAMA_HOST", None)  # what addresses_that_change says
        for phrase in _of_mapping(*values):
            said.setdefault(phrase, []).append(instance["name"])
    return ["environment of %s: %s" % (and_list(names), phrase) for phrase, names in said.items()]
