# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run changes on a host, with the reasons, in few lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import and_list
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_differences import (
    addresses_that_change,
    plan_differences,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Line, Span, Style, line, sentence

_STAGES = ("install", "fetch", "switch", "finish", "history", "prune")
_PLURALS = {"directory": "directories", "library": "libraries", "history": "plans of the history"}
#: Words of a reason for one thing, and for several.
_NUMBERS = (
    (r"\bThe store of its instance does\b", "The stores of their instances do"),
    (r"\bIts instance does\b", "Their instances do"),
    (r"^It is\b", "They are"),
    (r"^Its content differs\b", "Their contents differ"),
    (r"^It does\b", "They do"),
    (r"^It becomes another name\b", "They become other names"),
    (r"\bhave it\b", "have them"),
)
_LABELS = 11


@dataclass(frozen=True)
class Difference:
    """`changes` and `summary` are those of module changes_info; `plan` is the wanted plan, `applied` the one in force
    ({} where there is none), and `obstacles` what keeps the plan from being applied."""

    changes: Sequence[dict[str, Any]]
    summary: Sequence[str]
    plan: dict[str, Any]
    applied: dict[str, Any]
    obstacles: Sequence[str] = ()


def changes_lines(found: Difference, style: Style, host: str = "") -> list[Line]:
    """Return the lines of a difference: what differs from the plan in force, what is fetched, and each change."""
    on = " on %s" % host if host else ""
    lines = _notes(found, style)
    if not found.changes:
        same = "" if found.obstacles else "Nothing%s differs from the plan." % (on or " on the host")
        return lines + (sentence(style, same) if same else [])
    lines.insert(0, line(Span("Changes%s: " % on, "title"), _counts(found.changes)))
    if found.applied:
        for phrase in plan_differences(found.applied, found.plan):
            lines += sentence(style, phrase, first="  %-*s" % (_LABELS, "plan"), rest=" " * (_LABELS + 2))
    else:
        for phrase in addresses_that_change({"instances": []}, found.plan):
            lines += sentence(style, phrase, first="  %-*s" % (_LABELS, "address"), rest=" " * (_LABELS + 2))
    fetched = bytes_to_fetch(found)
    if fetched:
        lines += sentence(style, fetched, first="  %-*s" % (_LABELS, "to fetch"), rest=" " * (_LABELS + 2))
    for stage in (*_STAGES, ""):
        lines += _of_stage(stage, [one for one in found.changes if (one.get("stage") or "") == stage], style)
    return lines


def _notes(found: Difference, style: Style) -> list[Line]:
    """The warnings and obstacles of the summary; the warnings of the plan stand in the plan."""
    lines = []
    known = {"Warning: %s" % text for text in found.plan.get("warnings") or []}
    for text in found.summary:
        if text in known:
            continue
        if text.startswith("Warning: "):
            lines += sentence(style, text, first="  ", rest="    ", role="note")
        elif text.startswith("Obstacle: "):
            lines += sentence(style, text, first="  ", rest="    ", role="bad")
    return lines


def _counts(changes: Sequence[dict[str, Any]]) -> str:
    counts = {stage: sum(1 for one in changes if one.get("stage") == stage) for stage in _STAGES}
    return "%d (%s)" % (len(changes), ", ".join("%s %d" % pair for pair in counts.items() if pair[1]))


def bytes_to_fetch(found: Difference) -> str:
    """Return how much is fetched: the release, and the models with their sizes; "" where nothing is."""
    models = fetched_models(found)
    said = ["Ollama %s" % found.plan.get("ollama_version")] if fetches_release(found) else []
    if models:
        total = sum(size or 0 for size in models.values())
        said.append("%s of models (%s)" % (gib(total) if total else "an unknown size", and_list(list(models))))
    return " and ".join(said)


def fetches_release(found: Difference) -> bool:
    """Return whether the release is fetched."""
    return any((one["kind"], one["object"]) == ("fetch", "release") for one in found.changes)


def fetched_models(found: Difference) -> dict[str, Optional[int]]:
    """Return {name: bytes} of the models that are fetched, in their order; None where the size is not known."""
    sizes = {
        name: model.get("size_bytes")
        for instance in found.plan.get("instances") or []
        for model in instance["models"]
        for name in (model["name"], model.get("from"))
    }
    wanted = [one["what"] for one in found.changes if (one["kind"], one["object"]) == ("fetch", "model")]
    return {name: sizes.get(name) for name in wanted}


def change_texts(changes: Sequence[dict[str, Any]]) -> list[str]:
    """Return the changes in words and in order; those of one kind and one reason are one text."""
    return [
        _group_text(group)
        for stage in (*_STAGES, "")
        for group in _groups([one for one in changes if (one.get("stage") or "") == stage], apart=False)
    ]


def _of_stage(stage: str, changes: Sequence[dict[str, Any]], style: Style) -> list[Line]:
    """The changes of a stage; those of one kind and one reason are one line, unless details are asked for."""
    lines = []
    label = stage
    for group in _groups(changes, style.details):
        lines += sentence(style, _group_text(group), first="  %-*s" % (_LABELS, label), rest=" " * (_LABELS + 4))
        label = ""
    return lines


def _groups(changes: Sequence[dict[str, Any]], apart: bool) -> list[list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for number, one in enumerate(changes):
        key = number if apart else (one["kind"], one["object"], _reason_of_all(one))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _group_text(group: Sequence[dict[str, Any]]) -> str:
    first = group[0]
    verb = str(first["kind"]).replace("_", " ").capitalize()
    if len(group) == 1:
        place = " on %s" % first["instance"] if first["object"] == "model" and first.get("instance") else ""
        return "%s %s %s%s: %s" % (verb, first["object"], first["what"], place, first["reason"])
    names = list(dict.fromkeys(_last_part(one) for one in group))
    plural = _PLURALS.get(first["object"], "%ss" % first["object"])
    return "%s %d %s (%s): %s" % (verb, len(group), plural, ", ".join(names), _of_several(_reason_of_all(first)))


def _of_several(reason: str) -> str:
    """A reason that is the same for several things."""
    for singular, words in _NUMBERS:
        reason = re.sub(singular, words, reason)
    return reason


def _reason_of_all(change: dict[str, Any]) -> str:
    """The reason without the names of this change: "It does not start at boot." is the same for every unit."""
    reason = str(change["reason"])
    for name, word in ((change["what"], "it"), (change.get("instance"), "its instance")):
        if name:
            reason = re.sub(r"(?<![\w@/.-])%s(?![\w@/-])" % re.escape(str(name)), word, reason)
    return reason[:1].upper() + reason[1:]


def _last_part(change: dict[str, Any]) -> str:
    """What a change is about without the folder that all have."""
    if change["object"] == "model":
        return "%s on %s" % (change["what"], change["instance"]) if change.get("instance") else str(change["what"])
    return str(change["what"]).rstrip("/").rsplit("/", 1)[-1]
