# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The benchmarks of a host for its report: the newest one whole, the others as a history. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import (
    BenchmarkReport,
    Figure,
    LoadRow,
    MeasuredRow,
    SpeedEntry,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import (
    entries,
    mapping,
    mappings,
    name,
    number,
    text,
    whole,
)


def benchmark_report(kept: Sequence[Mapping[str, Any]]) -> Optional[BenchmarkReport]:
    """Return what a report says of the benchmarks of a host, None where there are none.

    Args:
        kept: what is in their files (benchmark/file.py), the newest at the end. It came from the host.
    """
    if not kept:
        return None
    newest = kept[-1]
    return BenchmarkReport(
        time=name(newest.get("time")),
        label=name(newest.get("label")),
        release=name(newest.get("release")),
        loads=[_load(one, is_untouched) for one, is_untouched in _both(newest, "loads")],
        rows=[_row(one, is_untouched) for one, is_untouched in _both(newest, "measurements")],
        notes=_notes(newest),
        history=[_speeds(one) for one in kept],
    )


def _both(benchmark: Mapping[str, Any], key: str) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Entries of the plan, then those of an untouched Ollama, with whether they are of it."""
    for one in mappings(benchmark.get(key)):
        yield one, False
    for one in mappings(mapping(benchmark.get("untouched")).get(key)):
        yield one, True


def _notes(benchmark: Mapping[str, Any]) -> list[str]:
    found = [text(note) for note in entries(benchmark.get("notes"))]
    found += [text(note) for note in entries(mapping(benchmark.get("untouched")).get("notes"))]
    for one, _is_untouched in _both(benchmark, "measurements"):
        disturbed = whole(one.get("disturbed"))
        if disturbed:
            found.append(
                "Others were served before %d of the repeats: %s on %s, prompts of %d tokens, %d at a time."
                % (
                    disturbed,
                    name(one.get("model")),
                    " and ".join(_places(one)),
                    whole(one.get("prompt")) or 0,
                    whole(one.get("streams")) or 0,
                )
            )
    return found


def _load(one: Mapping[str, Any], is_untouched: bool) -> LoadRow:
    return LoadRow(name(one.get("model")), _places(one), is_untouched, _figure(one.get("seconds")))


def _row(one: Mapping[str, Any], is_untouched: bool) -> MeasuredRow:
    return MeasuredRow(
        model=name(one.get("model")),
        on=_places(one),
        is_untouched=is_untouched,
        prompt=whole(one.get("prompt")) or 0,
        streams=whole(one.get("streams")) or 0,
        first_token_seconds=_figure(one.get("first_token_seconds")),
        tokens_per_second=_figure(one.get("total_tokens_per_second")),
        requests_per_minute=_figure(one.get("requests_per_minute")),
    )


def _places(one: Mapping[str, Any]) -> list[str]:
    return [name(place) for place in entries(one.get("instances"))]


def _figure(value: Any) -> Optional[Figure]:
    found = [number(mapping(value).get(key)) for key in ("median", "q1", "q3")]
    median, first, third = found
    return None if median is None or first is None or third is None else Figure(median, first, third)


def _speeds(benchmark: Mapping[str, Any]) -> SpeedEntry:
    """The most tokens per second of each model, with whatever prompts and however many requests."""
    best: dict[str, float] = {}
    for one in mappings(benchmark.get("measurements")):
        figure, model = _figure(one.get("total_tokens_per_second")), name(one.get("model"))
        if figure is not None:
            best[model] = max(figure.median, best.get(model, 0.0))
    words = (name(benchmark.get(key)) for key in ("time", "label", "release"))
    return SpeedEntry(*words, best)
