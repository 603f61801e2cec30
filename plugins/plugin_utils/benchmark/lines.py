# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A benchmark of a host as sentences, beside an earlier one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable

#: Figure -> whether more is better.
FIGURES = {
    "first_token_seconds": False,
    "tokens_per_second": True,
    "total_tokens_per_second": True,
    "requests_per_minute": True,
    "seconds": False,
}


def change(figure: str, before: Optional[Mapping[str, Any]], now: Optional[Mapping[str, Any]]) -> str:
    """Return how a figure differs from an earlier one: "12.5 % better", "12.5 % worse", "as before" or "".

    It is as before where the middle halves of both overlap, because repeats of one run differ as much then.

    Args:
        figure: a key of FIGURES.
        before: the earlier figure with median, q1 and q3.
        now: the figure.
    """
    if not before or not now or not before["median"]:
        return ""
    if now["q1"] <= before["q3"] and before["q1"] <= now["q3"]:
        return "as before"
    percent = 100.0 * (now["median"] / before["median"] - 1)
    return "%.1f %% %s" % (abs(percent), "better" if (percent > 0) is FIGURES[figure] else "worse")


def lines(benchmark: Mapping[str, Any], earlier: Optional[Mapping[str, Any]] = None) -> list[str]:
    """Return sentences about a benchmark.

    Args:
        benchmark: of module benchmark_info, with its label and time.
        earlier: an older one of the same host, None without one.
    """
    told = ["This is a measurement of: %s." % printable(benchmark["label"])] if benchmark.get("label") else []
    if earlier:
        what = ["of %s" % earlier.get("time"), "Ollama %s" % earlier.get("release"), str(earlier.get("label") or "")]
        told.append("It is compared with the benchmark %s." % printable(", ".join(one for one in what if one)))
    loads = {_key(one): one for one in (earlier or {}).get("loads") or []}
    for one in benchmark["loads"]:
        told.append("%s: a load takes %s." % (_where(one), _figure("seconds", one, loads.get(_key(one)), "%.2f s")))
    known = {_key(one): one for one in (earlier or {}).get("measurements") or []}
    told += [_measurement(one, known.get(_key(one))) for one in benchmark["measurements"]]
    return told + [printable(note) for note in benchmark["notes"]]


def _measurement(one: Mapping[str, Any], before: Optional[Mapping[str, Any]]) -> str:
    streams = "1 request" if one["streams"] == 1 else "%d requests at a time" % one["streams"]
    figures = [
        "first token after " + _figure("first_token_seconds", one, before, "%.3f s"),
        _figure("total_tokens_per_second", one, before, "%.1f tokens/s"),
        _figure("requests_per_minute", one, before, "%.0f requests/min"),
    ]
    if one["streams"] > 1:
        figures.insert(1, "each " + _figure("tokens_per_second", one, before, "%.1f tokens/s"))
        figures[2] = "all " + figures[2]
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


def _key(one: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two measurements have in common that can be compared. Instances may have other names in another plan."""
    return one["model"], len(one["instances"]), one.get("prompt"), one.get("streams")
