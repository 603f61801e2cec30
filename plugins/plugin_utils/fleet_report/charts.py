# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Drawings of a benchmark: where lines, points and ticks are. Pure.

Lines are told apart by more than their colour: those of an untouched Ollama are dashed, each line has points of a shape
of its own, and the legend names it. A drawing has no more lines than there are colours and shapes: of more, there are
more drawings. The tables beside the drawings have the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Optional, TypeVar

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.compared import with_most_instances
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.colours import LINES
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import (
    BenchmarkReport,
    Figure,
    MeasuredRow,
)

T = TypeVar("T")

#: Units of a drawing, and of the part that the lines are in.
WIDTH = 480
LEFT, RIGHT, TOP, BOTTOM = 60, 470, 26, 204
MIDDLE = (LEFT + RIGHT) // 2
#: Where the legend begins, how far its lines are apart, and half of the length of a line in it.
_KEYS, _APART, _HALF = 254, 18, 18
#: Drawings of a host of its models, and of its history.
_MOST_OF_MODELS, _MOST_OF_HISTORY = 12, 2
#: Ticks of an axis are these, times a power of ten.
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line of a drawing.

    Attributes:
        name: in the legend.
        number: of its colour, and of the shape of its points.
        is_dashed: whether it is of an untouched Ollama.
        points: (x, y), from left to right.
        key: the point in the legend.
    """

    name: str
    number: int
    is_dashed: bool
    points: list[tuple[float, float]]
    key: tuple[float, float]

    @property
    def path(self) -> str:
        """The points as SVG takes them."""
        return _path(self.points)

    @property
    def key_path(self) -> str:
        """The line in the legend."""
        x, y = self.key
        return _path([(x - _HALF, y), (x + _HALF, y)])


@dataclass(frozen=True)
class Chart:
    """A drawing: its `title`, what it shows in words, its axes, and its lines."""

    title: str
    description: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line] = field(default_factory=list)

    @property
    def height(self) -> int:
        """Of the drawing with its legend."""
        return _KEYS + _APART * len(self.lines)


@dataclass(frozen=True)
class _Series:
    name: str
    number: int
    is_dashed: bool
    values: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Drawings:
    """The `charts` of the benchmarks of a host, and the models of which some or all are `left_out`."""

    charts: list[Chart]
    left_out: list[str]


def drawings(benchmark: BenchmarkReport) -> Drawings:
    """Return the drawings of the benchmarks of a host: two of each model and four prompts, then those of the history.

    A model of which there is nothing to draw a line of is not left out: the table has all that is known of it.
    """
    found: list[Chart] = []
    left_out = []
    for model in dict.fromkeys(row.model for row in benchmark.rows if row.streams):
        rows = [row for row in benchmark.rows if row.model == model]
        groups = _groups(sorted({row.prompt for row in rows}))
        of_model = [one for prompts in groups for one in _of_prompts(model, rows, prompts, len(groups) > 1)]
        room = _MOST_OF_MODELS - len(found)
        left_out += [model] if len(of_model) > room else []
        found += of_model[:room]
    models = list(dict.fromkeys(model for entry in benchmark.history for model in entry.tokens_per_second))
    groups = _groups(models)
    of_history = [_of_history(benchmark, some, place, len(groups)) for place, some in enumerate(groups)]
    drawn = [one for one in of_history[:_MOST_OF_HISTORY] if one is not None]
    if any(of_history[_MOST_OF_HISTORY:]):
        left_out += [model for some in groups[_MOST_OF_HISTORY:] for model in some]
    return Drawings([*found, *drawn], list(dict.fromkeys(left_out)))


def _groups(things: Sequence[T]) -> list[Sequence[T]]:
    """The things in groups, of which each fits into a drawing."""
    return [things[first : first + len(LINES)] for first in range(0, len(things), len(LINES))]


def _of_prompts(model: str, rows: Sequence[MeasuredRow], prompts: Sequence[int], is_split: bool) -> list[Chart]:
    """The two drawings of a model; `is_split` says whether it has others, of other prompts."""
    of_these = ", prompts of %d to %d tokens" % (prompts[0], prompts[-1]) if is_split else ""
    some = [row for row in rows if row.prompt in prompts]
    speed = "%s: tokens/s of all requests%s" % (model, of_these)
    first = "%s: time to the first token%s" % (model, of_these)
    both = (
        _of_streams(speed, "tokens/s", some, lambda row: row.tokens_per_second),
        _of_streams(first, "seconds", some, lambda row: row.first_token_seconds),
    )
    return [one for one in both if one is not None]


def _of_streams(
    title: str, y_label: str, rows: Sequence[MeasuredRow], value: Callable[[MeasuredRow], Optional[Figure]]
) -> Optional[Chart]:
    """A figure of a model against the number of requests; None where there is nothing to draw a line of."""
    prompts = sorted({row.prompt for row in rows})
    series = []
    for is_untouched in (False, True):
        for place, prompt in enumerate(prompts):
            drawn = [
                row
                for row in rows
                if (row.prompt, row.is_untouched) == (prompt, is_untouched) and value(row) and row.streams
            ]
            best = with_most_instances(drawn, lambda row: row.streams, lambda row: len(row.on))
            points = [(float(streams), figure.median) for streams, figure in _figures(best, value)]
            whose = "untouched Ollama" if is_untouched else "plan"
            series.append(_Series("%s, %d tokens" % (whose, prompt), place, is_untouched, points))
    streams = sorted({point[0] for one in series for point in one.values})
    return _chart(title, "requests at a time", y_label, [(one, "%g" % one) for one in streams], series)


def _figures(
    best: dict[int, MeasuredRow], value: Callable[[MeasuredRow], Optional[Figure]]
) -> Iterable[tuple[int, Figure]]:
    for streams, row in sorted(best.items()):
        figure = value(row)
        if figure is not None:
            yield streams, figure


def _of_history(benchmark: BenchmarkReport, models: Sequence[str], place: int, count: int) -> Optional[Chart]:
    """The history of some models, which is the drawing number `place` of `count`."""
    series = [
        _Series(
            model,
            number_of_line,
            False,
            [
                (float(number), entry.tokens_per_second[model])
                for number, entry in enumerate(benchmark.history, start=1)
                if model in entry.tokens_per_second
            ],
        )
        for number_of_line, model in enumerate(models)
    ]
    ticks = [(float(number), str(number)) for number in range(1, len(benchmark.history) + 1)]
    which = " (%d of %d)" % (place + 1, count) if count > 1 else ""
    return _chart("Most tokens/s of each benchmark%s" % which, "benchmark", "tokens/s", ticks, series)


def _chart(
    title: str, x_label: str, y_label: str, places: Sequence[tuple[float, str]], series: Sequence[_Series]
) -> Optional[Chart]:
    """A drawing of lines; None where no line has two points."""
    drawn = [one for one in series if one.values]
    if len(places) < 2 or not any(len(one.values) > 1 for one in drawn):
        return None
    first, last = places[0][0], places[-1][0]
    highest = max(value for one in drawn for _place, value in one.values)
    step = _step(highest)
    top = step * max(math.ceil(highest / step - 1e-9), 1)

    def x(place: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (place - first) / (last - first), 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * value / top, 1)

    lines = [
        Line(
            name=one.name,
            number=one.number,
            is_dashed=one.is_dashed,
            points=[(x(place), y(value)) for place, value in one.values],
            key=(LEFT + _HALF, _KEYS + _APART * below),
        )
        for below, one in enumerate(drawn)
    ]
    said = ["%s: %s" % (one.name, ", ".join("%.3g" % value for _place, value in one.values)) for one in drawn]
    description = "%s against %s %s. %s." % (y_label, x_label, ", ".join(t for _p, t in places), "; ".join(said))
    y_ticks = [Tick(y(step * number), "%g" % (step * number)) for number in range(round(top / step) + 1)]
    return Chart(title, description, x_label, y_label, _apart([Tick(x(p), t) for p, t in places]), y_ticks, lines)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join("%g,%g" % point for point in points)


def _step(highest: float) -> float:
    """The distance of two ticks of an axis from 0."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / _MOST_TICKS))
    return next(power * step for step in _STEPS if highest / (power * step) <= _MOST_TICKS + 1e-9)


def _apart(ticks: Sequence[Tick], least: float = 18.0) -> list[Tick]:
    """Ticks without those whose texts would overlap the one before."""
    found: list[Tick] = []
    for tick in ticks:
        if not found or tick.at - found[-1].at >= least:
            found.append(tick)
    return found
