# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A benchmark of a host as sentences, beside an earlier one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.compared import (
    OF_WHOLE_ANSWERS,
    beside_one,
    beside_untouched,
    change,
    differences,
    partner,
)

#: Figures of the plan that are told beside those of an untouched Ollama.
_AGAINST = {
    "first_token_seconds": "first token",
    "total_tokens_per_second": "tokens/s",
    "requests_per_minute": "requests/min",
}


def lines(benchmark: Mapping[str, Any], earlier: Optional[Mapping[str, Any]] = None) -> list[str]:
    """Return sentences about a benchmark of a plan.

    Args:
        benchmark: of module benchmark_info, with its label and time.
        earlier: an older one of the same host, None without one.
    """
    told = ["This is a measurement of: %s." % printable(benchmark["label"])] if benchmark.get("label") else []
    if earlier:
        what = ["of %s" % earlier.get("time"), "Ollama %s" % earlier.get("release"), str(earlier.get("label") or "")]
        told.append("It is compared with the benchmark %s." % printable(", ".join(one for one in what if one)))
        other = differences(earlier, benchmark)
        told += ["What differs beside the figures: %s." % printable("; ".join(other))] if other else []
    loads, known = ((earlier or {}).get(name) or [] for name in ("loads", "measurements"))
    for one in benchmark["loads"]:
        before = partner(one, benchmark["loads"], loads)
        told.append("%s: a load takes %s." % (_where(one), _figure("seconds", one, before, "%.2f s")))
    if earlier and earlier.get("tokens") != benchmark.get("tokens"):
        known = [dict(one, **dict.fromkeys(OF_WHOLE_ANSWERS)) for one in known]
    times = {id(one): "%.1f times the tokens/s of one instance at its best" % x for one, x in beside_one(benchmark)}
    for one in benchmark["measurements"]:
        told.append(_measurement(one, partner(one, benchmark["measurements"], known), times.get(id(one), "")))
    return told + [printable(note) for note in benchmark["notes"]]


def untouched_lines(benchmark: Mapping[str, Any]) -> list[str]:
    """Return sentences about the same models on an untouched Ollama, and what the plan changes.

    Args:
        benchmark: with that of module benchmark_untouched as `untouched`, if there is one.
    """
    untouched = benchmark.get("untouched") or {}
    told = [_loaded(one) for one in untouched.get("loaded") or []]
    for one in untouched.get("loads") or []:
        of_plan = next((load for load in benchmark["loads"] if load["model"] == one["model"]), None)
        changed = change("seconds", one["seconds"], (of_plan or {}).get("seconds"))
        told.append("%s: a load takes %s.%s" % (_where(one), _figure("seconds", one, None, "%.2f s"), _plan(changed)))
    pairs = {id(one): of_plan for of_plan, one in beside_untouched(benchmark)}
    for one in untouched.get("measurements") or []:
        of_plan = pairs.get(id(one)) or {}
        compared = ((words, change(name, one.get(name), of_plan.get(name))) for name, words in _AGAINST.items())
        changed = ["%s %s" % one for one in compared if one[1]]
        on = " and ".join(of_plan.get("instances") or [])
        told.append(_measurement(one, None) + (_plan(", ".join(changed), printable(on)) if of_plan else ""))
    return told + [printable(note) for note in untouched.get("notes") or []]


def _plan(changed: str, on: str = "") -> str:
    return " With the plan%s: %s." % (on and " (%s)" % on, changed.replace("as before", "the same")) if changed else ""


def _loaded(one: Mapping[str, Any]) -> str:
    """What an untouched Ollama makes of a model."""
    size, on_gpus = one.get("size_bytes"), one.get("size_vram_bytes")
    placed = ", %s of %s on GPUs" % (gib(on_gpus), gib(size)) if size and on_gpus is not None else ""
    context = one.get("context_length") or "unknown"
    return printable("Untouched, Ollama loads %s with a context of %s tokens%s." % (one["model"], context, placed))


def _measurement(one: Mapping[str, Any], before: Optional[Mapping[str, Any]], more: str = "") -> str:
    streams = "1 request" if one["streams"] == 1 else "%d requests at a time" % one["streams"]
    figures = [
        "first token after " + _figure("first_token_seconds", one, before, "%.3f s"),
        _figure("total_tokens_per_second", one, before, "%.1f tokens/s"),
        _figure("requests_per_minute", one, before, "%.0f requests/min"),
    ]
    if one["streams"] > 1:
        figures.insert(1, "each " + _figure("tokens_per_second", one, before, "%.1f tokens/s"))
        figures[2] = "all " + figures[2]
    figures += [more] if more else []
    disturbed = " Others were served before %d of the repeats." % one["disturbed"] if one["disturbed"] else ""
    prompt = "prompts of %d tokens" % one["prompt_tokens"]
    return "%s, %s, %s: %s.%s" % (_where(one), prompt, streams, "; ".join(figures), disturbed)


def _figure(name: str, one: Mapping[str, Any], before: Optional[Mapping[str, Any]], form: str) -> str:
    """A figure with its middle half, and what has changed."""
    value = one.get(name)
    if not value:
        return "unknown"
    number = form.partition(" ")[0]
    spread = "%s to %s" % (number % value["q1"], number % value["q3"])
    changed = change(name, (before or {}).get(name), value)
    return "%s (%s%s)" % (form % value["median"], spread, changed and ", " + changed)


def _where(one: Mapping[str, Any]) -> str:
    return printable("%s on %s" % (one["model"], " and ".join(one["instances"])))
