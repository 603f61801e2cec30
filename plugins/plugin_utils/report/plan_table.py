# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan as a table of GPUs and models. Pure."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib, mib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gains import gains, gains_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import (
    gpu_labels,
    gpu_memory,
    memory_rows,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import (
    ModelPlace,
    and_list,
    model_places,
    on_gpus,
    place_text,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import (
    Line,
    Span,
    Style,
    key_of_bars,
    line,
    sentence,
)

_LABELS = 15
_MORE = " " * _LABELS


def plan_table(plan: dict[str, Any], style: Style, host: str = "") -> list[Line]:
    """Return the lines of a plan.

    Args:
        plan: of module placement_info.
        style: of the terminal.
        host: its name in the inventory, "" to leave it out.
    """
    labels = gpu_labels(plan)
    lines = [_title(plan, host)]
    gpus = gpu_memory(plan)
    lines += memory_rows(style, gpus)
    if gpus:
        lines += key_of_bars(style)
    if style.details:
        lines += _identities(plan, style, labels)
    lines += _held_by_others(plan, style, labels)
    lines += _left_out(plan, style, labels)
    places = model_places(plan)
    for entry in plan["models"]:
        lines += _model(plan, entry, places.get(entry["name"]), labels, style)
    return lines + plan_notes(plan, style)


def plan_in_short(plan: dict[str, Any], style: Style, host: str = "") -> list[Line]:
    """Return a line for each model of a plan that is in force already."""
    labels = gpu_labels(plan)
    name = host + "  " if host else ""
    lines = []
    for place in model_places(plan).values():
        text = "%s %s, as before" % (place.served, place_text(place, labels))
        lines += sentence(style, text, first=name, rest=" " * len(name))
    return lines or [line(name, "no models, as before")]


def _title(plan: dict[str, Any], host: str) -> Line:
    role, verdict = ("good", "feasible") if plan["feasible"] else ("bad", "NOT FEASIBLE")
    on = " on %s" % host if host else ""
    return line(Span("Plan for Ollama %s%s: " % (plan["ollama_version"], on), "title"), Span(verdict, role))


def _identities(plan: dict[str, Any], style: Style, labels: dict[str, str]) -> list[Line]:
    lines = []
    for gpu in plan.get("gpus") or []:
        text = "%s %s, %s for the plan, %s held by others" % (
            gpu["pci_bus_id"],
            gpu["uuid"],
            mib(gpu["available_bytes"]),
            mib(gpu["foreign_bytes"]),
        )
        lines += sentence(style, text, first="  %s  " % labels.get(gpu["uuid"], "GPU"), rest="  ")
    return lines


def _held_by_others(plan: dict[str, Any], style: Style, labels: dict[str, str]) -> list[Line]:
    lines = []
    for gpu in plan.get("gpus") or []:
        if gpu["foreign_bytes"] and not style.details:
            text = "%s: %s held by others" % (labels.get(gpu["uuid"], "GPU"), mib(gpu["foreign_bytes"]))
            lines += sentence(style, text, first="  ", rest="  ")
    return lines


def _left_out(plan: dict[str, Any], style: Style, labels: dict[str, str]) -> list[Line]:
    """GPUs that the user leaves alone; the warnings tell of those with a fault."""
    lines = []
    for gpu in plan.get("left_out") or []:
        if gpu["cause"] != "fault":
            text = "%s %s is left alone: %s" % (labels.get(gpu["uuid"], gpu["uuid"]), gpu["name"] or "", gpu["reason"])
            lines += sentence(style, text, first="  ", rest="    ")
    return lines


def _model(
    plan: dict[str, Any], entry: dict[str, Any], place: Optional[ModelPlace], labels: dict[str, str], style: Style
) -> list[Line]:
    if entry.get("fits") and not plan["feasible"]:
        return sentence(style, "%s has a place (%s)" % (entry["name"], entry["strategy"]), first="  ", rest="    ")
    if place is None or not place.replicas:
        return _without_place(entry, style)
    lines = sentence(
        style, "%s, %s" % (entry["name"], place_text(place, labels)), first="  ", rest="    ", role="title"
    )
    names = [place.served, *("%s (alias)" % alias for alias in place.aliases)]
    lines += _labelled(style, "served as", "%s at %s" % (and_list(names), and_list(place.urls)))
    lines += _labelled(style, "strategy", "%s: %s" % (place.strategy, entry.get("reason") or "no reason given"))
    untouched = entry.get("default_behaviour") or {}
    if untouched:
        lines += _labelled(style, "untouched", _untouched(plan, untouched, labels))
    lines += _labelled(style, "planned", _planned(place, labels))
    gained = gains(place, untouched, labels)
    if gained:
        lines += _labelled(style, *gains_text(gained))
    if style.details:
        lines += _details(plan, entry, labels, style)
    return lines


def _without_place(entry: dict[str, Any], style: Style) -> list[Line]:
    lines = sentence(
        style, "%s has no place (%s)" % (entry["name"], entry.get("strategy")), first="  ", rest="    ", role="bad"
    )
    lines += _labelled(style, "why", entry.get("reason") or "no reason given")
    short = entry.get("shortfall_bytes")
    if short:
        lines += _labelled(style, "short of", "%d bytes (%s)" % (short, mib(short)))
    for remedy in entry.get("remedies") or []:
        lines += _labelled(style, "remedy", str(remedy))
    return lines


def _labelled(style: Style, label: str, text: str) -> list[Line]:
    return sentence(style, text, first="    %-*s" % (_LABELS - 4, label), rest=_MORE)


def _untouched(plan: dict[str, Any], untouched: dict[str, Any], labels: dict[str, str]) -> str:
    """What Ollama does without any setting."""
    if untouched.get("error") or untouched.get("outcome") is None:
        return "Ollama %s would not load it: %s" % (plan["ollama_version"], untouched.get("error") or "unknown reason")
    outcome = untouched["outcome"]
    where = on_gpus(untouched.get("gpu_uuids") or [], labels)
    words = {"single": "on %s", "split": "split over %s", "partial": "partly on %s, the rest on the CPU"}
    text = words[outcome] % where if outcome in words else "on the CPU"
    layers = [count for count in untouched.get("layers") or [] if count is not None]
    if layers and outcome != "cpu":
        text += ", %s layers" % " + ".join(map(str, layers))
    return "%s, context %s%s" % (text, untouched.get("context_length"), _estimate(untouched))


def _estimate(untouched: dict[str, Any]) -> str:
    size = untouched.get("predicted_bytes")
    return ", %s by its own estimate" % gib(size) if size else ""


def _planned(place: ModelPlace, labels: dict[str, str]) -> str:
    text = place_text(place, labels)
    if place.gpu_uuids:
        of_all = "" if place.gpu_layers == place.total_layers else " of %d" % place.total_layers
        text += ", %s%s layers" % (" + ".join(map(str, place.layers)), of_all)
    text += ", context %s" % place.context_length
    if place.parallel > 1:
        text += " for each of %d slots" % place.parallel
    text += ", KV cache %s" % place.kv_cache_type
    if place.gpu_uuids:
        basis = "measured by the engine" if place.basis == "measured" else "predicted"
        text += ", %s %s%s" % (gib(place.bytes_of_one), "each, " if place.replicas > 1 else "", basis)
    if place.host_bytes and (place.gpu_layers < place.total_layers):
        text += ", %s in the host's memory" % gib(place.host_bytes)
    return text + ("" if place.resident else ", loaded by the first request")


def _details(plan: dict[str, Any], entry: dict[str, Any], labels: dict[str, str], style: Style) -> list[Line]:
    """Bytes of each part on each GPU, and what each setting does on this release."""
    lines = []
    for instance in plan["instances"]:
        for model in instance["models"]:
            if model["name"] == entry["name"]:
                for device in model["predicted"]["devices"]:
                    where = "%s %s" % (instance["name"], labels.get(device["uuid"], device["uuid"]))
                    lines += _labelled(style, "memory", "%s: %s" % (where, _parts(device)))
                lines += _labelled(style, "on host", "%s, ubatch %s" % _host_parts(model["predicted"]))
    for setting in (entry.get("default_behaviour") or {}).get("settings") or []:
        value = " (not set)" if setting["value"] is None else "=%s" % setting["value"]
        lines += _labelled(style, "setting", "%s%s: %s" % (setting["name"], value, setting["effect"]))
    return lines


def _host_parts(predicted: dict[str, Any]) -> tuple[str, Any]:
    return mib(predicted.get("host_bytes")), predicted.get("ubatch")


def _parts(device: dict[str, Any]) -> str:
    parts = (
        ("weights", "weight_bytes"),
        ("KV cache", "kv_bytes"),
        ("compute", "compute_bytes"),
        ("projector", "projector_bytes"),
        ("scratch for the CPU's weights", "offload_scratch_bytes"),
        ("adapters", "adapter_bytes"),
        ("draft", "draft_bytes"),
        ("context overhead", "overhead_bytes"),
    )
    said = ["%s %s" % (words, mib(device[key])) for words, key in parts if device.get(key)]
    return "%s layers, %s = %s of %s" % (
        device.get("layers"),
        " + ".join(said),
        mib(device["total_bytes"]),
        mib(device["room_bytes"]),
    )


def plan_notes(plan: dict[str, Any], style: Style) -> list[Line]:
    """Return what a user should read: what the release changes, what has no effect, and the warnings."""
    warnings = plan.get("warnings") or []
    lines = []
    for text in plan.get("release_changes") or []:
        lines += sentence(style, "Release: %s" % text, first="  ", rest="    ")
    for text in plan.get("without_effect") or []:
        if text not in warnings:
            lines += sentence(style, "Note: %s" % text, first="  ", rest="    ")
    for text in warnings:
        lines += sentence(style, "Warning: %s" % text, first="  ", rest="    ", role="note")
    return lines
