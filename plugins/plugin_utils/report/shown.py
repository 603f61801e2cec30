# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a task of the role shows: in full, in short, and for the summary of all hosts. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import counted
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.changes_lines import Difference, changes_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.evidence_table import evidence_table
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import gpu_labels, gpu_memory
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import model_places
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_differences import plan_differences
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_table import (
    plan_in_short,
    plan_notes,
    plan_table,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Line, Span, Style, line, sentence


class NothingToShow(Exception):
    """No option that can be shown was given. The text is a sentence."""


@dataclass(frozen=True)
class Shown:
    """`lines` are for everybody, `short` is for a callback that keeps quiet about what is as before, and `overview` is
    what a summary of all hosts needs, as JSON."""

    lines: list[Line]
    short: list[Line]
    overview: dict[str, Any] = field(default_factory=dict)


def shown(options: dict[str, Any], style: Style, host: str) -> Shown:
    """Return what is shown for the options of module show.

    Args:
        options: of the module.
        style: of the terminal.
        host: its name in the inventory.

    Raises:
        NothingToShow: nothing was given.
    """
    for kind, show in _KINDS.items():
        if options.get(kind) is not None:
            found = show(options, style, host)
            return Shown(found.lines, found.short, dict(found.overview, kind=kind))
    raise NothingToShow("There is nothing to show: give one of %s." % ", ".join(sorted(_KINDS)))


def _plan(options: dict[str, Any], style: Style, host: str) -> Shown:
    plan, applied = options["plan"], options.get("applied") or {}
    lines = plan_table(plan, style, host)
    in_force = bool(applied) and plan["feasible"] and not plan_differences(applied, plan)
    stays = bool(applied) and plan["feasible"] and model_places(applied) == model_places(plan)
    known = set(applied.get("warnings") or []) | set(applied.get("release_changes") or [])
    new = {key: [text for text in plan.get(key) or [] if text not in known] for key in ("warnings", "release_changes")}
    short = plan_in_short(plan, style, host) + plan_notes(dict(new, without_effect=[]), style) if stays else lines
    served: dict[str, list[str]] = {}
    for place in model_places(plan).values():
        for url in place.urls:
            served.setdefault(url, []).append(place.served)
    return Shown(
        lines,
        short,
        {
            "feasible": bool(plan["feasible"]),
            "in_force": in_force,
            "gpus": [gpu.data() for gpu in gpu_memory(plan)],
            "served": [[url, names] for url, names in served.items()],
        },
    )


def _difference(options: dict[str, Any], style: Style, host: str) -> Shown:
    found = options["difference"]
    difference = Difference(
        changes=found.get("changes") or [],
        summary=found.get("summary") or [],
        plan=options.get("plan") or {},
        applied=options.get("applied") or {},
        obstacles=found.get("obstacles") or [],
    )
    lines = changes_lines(difference, style, host)
    # That nothing differs is what the summary says. Warnings stand in the plan, those of the host only here.
    short = lines if difference.changes or difference.obstacles else lines[:-1]
    return Shown(lines, short, {"changes": len(difference.changes)})


def _evidence(options: dict[str, Any], style: Style, host: str) -> Shown:
    evidence = options["evidence"]
    lines = evidence_table(evidence, style, host, gpu_labels(options.get("plan") or {}))
    observed: dict[str, int] = {}
    rates: dict[str, float] = {}
    for instance in evidence.get("instances") or []:
        for model in instance["models"]:
            if model.get("tokens_per_second") is not None:
                rates["%s on %s" % (model["name"], instance["name"])] = model["tokens_per_second"]
            for device in model.get("devices") or []:
                if device.get("observed_bytes") is not None:
                    observed[device["uuid"]] = observed.get(device["uuid"], 0) + device["observed_bytes"]
    passed = evidence.get("verdict") == "pass"
    return Shown(
        lines,
        [] if passed else lines,
        {"verdict": str(evidence.get("verdict") or "none"), "observed": observed, "tokens_per_second": rates},
    )


def _switch(options: dict[str, Any], style: Style, host: str) -> Shown:
    switch = options["switch"]
    verb = "Would switch" if options.get("check_mode") else "Switching"
    title = line(Span("%s %s on %s: " % (verb, switch.get("title"), host), "title"))
    why = switch.get("why") or []
    summary = [line(*title, counted(len(why), "change"))]
    # The list of changes has said it, in check mode a moment ago.
    short = [] if options.get("check_mode") else summary
    if not style.details:
        return Shown(summary, short)
    lines = [title]
    for text in why:
        lines += sentence(style, text, first="  ", rest="    ")
    return Shown(lines, short)


def _switched(options: dict[str, Any], style: Style, host: str) -> Shown:
    """How long clients got no answer; what was found, where a switch failed."""
    switched, labels = options["switched"], gpu_labels(options.get("plan") or {})
    lines: list[Line] = []
    if switched.get("failed"):
        for key, words in (("evidence", "of the switch that failed"), ("evidence_before", "of what went back")):
            if switched.get(key):
                lines.append(line(Span("What was found %s:" % words, "title")))
                lines += evidence_table(switched[key], style, host, labels)
    for name, seconds in (switched.get("seconds_without_answer") or {}).items():
        text = "%s gave no answer for %s s, from its stop until its models were loaded." % (name, seconds)
        lines += sentence(style, text, first="%s: " % host, rest="  ")
    return Shown(lines, lines)


def _diagnosis(options: dict[str, Any], style: Style, host: str) -> Shown:
    """What was looked at, the findings, and how many there are of each confidence."""
    found = options["diagnosis"]
    shown = _text({"text": [*(found.get("looked_at") or []), *(found.get("lines") or [])]}, style, host)
    counts: dict[str, int] = {}
    for finding in found.get("findings") or []:
        confidence = str(finding["confidence"])
        counts[confidence] = counts.get(confidence, 0) + 1
    return Shown(shown.lines, shown.short, {"findings": counts})


def _text(options: dict[str, Any], style: Style, host: str) -> Shown:
    lines: list[Line] = []
    for text in options["text"]:
        lines += sentence(style, text, first="%s: " % host, rest="  ")
    return Shown(lines, lines)


#: What the options show; the first that is given decides.
_KINDS: dict[str, Callable[[dict[str, Any], Style, str], Shown]] = {
    "text": _text,
    "diagnosis": _diagnosis,
    "switched": _switched,
    "switch": _switch,
    "evidence": _evidence,
    "difference": _difference,
    "plan": _plan,
}
