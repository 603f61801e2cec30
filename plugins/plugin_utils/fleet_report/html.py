# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report as one HTML file that needs no network. Pure but for reading the template, which computes nothing."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sized
from typing import Optional, Union

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import MIB, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import bars, charts, colours, shapes
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import (
    Figure,
    FleetReport,
    GpuReport,
    HostReport,
    LoadRow,
    MeasuredRow,
    MemoryParts,
    ModelReport,
    SpeedEntry,
)
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

TEMPLATE = "report.html.j2"
#: Of a fleet this large, details say less of each host; the JSON has all.
MANY_HOSTS = 100
_LISTED, _LISTED_OF_MANY = 50, 8
#: So many hosts that somebody has to look at are opened from the start.
_OPENED = 5
_ROLES = {shapes.AS_PLANNED: "good", shapes.PLANNED: "good", shapes.UNREACHABLE: "bad", shapes.FAILED: "bad"}
_SIGNS = {"good": "✓", "bad": "✗", "note": "!"}


def html_page(report: FleetReport) -> str:
    """Return the page. All values are escaped by the template's environment."""
    to_look_at = [host.name for host in report.hosts if role(host.state) != "good"]
    opened = {host.name for host in report.hosts} if len(report.hosts) == 1 else set(to_look_at[:_OPENED])
    is_large = len(report.hosts) > MANY_HOSTS
    return _template().render(
        report=report,
        opened=opened,
        most=_LISTED_OF_MANY if is_large else _LISTED,
        page=colours.PAGE,
        parts=colours.PARTS,
        words=bars.WORDS,
        bars=bars.bars,
        shared=shared_settings,
        summary=summary,
        in_words=in_words,
        models=distinct_models,
        replicas=replicas,
        is_large=is_large,
        line_colours=list(enumerate(colours.LINES)),
        charts=charts.charts,
        chart=charts,
        figure=figure,
        on=on,
        speeds=speeds,
    )


def summary(gpu: GpuReport) -> str:
    """Return the drawing of a GPU in words: "predicted 17.5 GiB, observed 17.4 GiB"."""
    rows = (("predicted %s", gpu.predicted), ("observed %s", gpu.observed))
    return ", ".join(words % _gib(parts.models_bytes) for words, parts in rows if parts) or "nothing is known"


def in_words(parts: MemoryParts) -> str:
    """Return how memory is divided: "weights 15774, KV cache 1472, free 30700 MiB"."""
    named = (
        ("weights", parts.weights_bytes),
        ("KV cache", parts.kv_bytes),
        ("compute", parts.compute_bytes),
        ("models", parts.models_bytes if parts.weights_bytes is None else None),
        ("others", parts.others_bytes),
        ("free", parts.free_bytes),
    )
    return ", ".join("%s %d" % (word, round(size / MIB)) for word, size in named if size is not None) + " MiB"


def figure(value: Optional[Figure]) -> str:
    """Return a figure with its middle half: "41.5 (40.9 to 42)"; a dash where it is not known."""
    return "–" if value is None else "%.4g (%.4g to %.4g)" % (value.median, value.q1, value.q3)


def on(row: Union[LoadRow, MeasuredRow]) -> str:
    """Return where a row of a benchmark was measured, in words."""
    return "untouched Ollama" if row.is_untouched else " and ".join(row.on)


def speeds(entry: SpeedEntry) -> str:
    """Return an entry of the history of benchmarks: "2026-11-29T13:00:00Z, Ollama 0.32.15: gemma3:27b 41.5"."""
    found = ["%s %.4g" % pair for pair in entry.tokens_per_second.items()]
    what = [entry.time, "Ollama %s" % entry.release if entry.release else "", entry.label]
    return "%s: %s" % (", ".join(one for one in what if one), ", ".join(found) or "nothing was measured")


def distinct_models(host: HostReport) -> dict[str, ModelReport]:
    """Return the models of a host by name, each as its first instance has it."""
    found: dict[str, ModelReport] = {}
    for instance in host.instances:
        for model in instance.models:
            found.setdefault(model.name, model)
    return found


def replicas(host: HostReport) -> dict[str, int]:
    """Return {name of a model: how many instances serve it}."""
    return dict(Counter(model.name for instance in host.instances for model in instance.models))


def shared_settings(host: HostReport) -> dict[str, str]:
    """Return the settings that all instances of a host have; {} where it has one instance."""
    first, *others = [instance.settings for instance in host.instances] or [{}]
    if not others:
        return {}
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def role(state: str) -> str:
    """Return how a state is shown: "good", "bad" or "note"."""
    return _ROLES.get(state, "bad" if state == shapes.NOT_AS_PLANNED else "note")


def _sign(state: str) -> str:
    """A state is told by more than its colour."""
    return _SIGNS[role(state)]


@functools.lru_cache(maxsize=None)
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(counted=counted, gib=_gib, exact=exact, known=known, role=role, sign=_sign)
    return environment.get_template(TEMPLATE)


def exact(size: Optional[int]) -> str:
    """Return bytes with their thousands apart: "6 444 044 672 bytes"; the spaces do not break."""
    return "unknown" if size is None else "{:,} bytes".format(size).replace(",", "\u202f")


def counted(things: Sized, word: str) -> str:
    """Return how many things there are: "1 host", "3 hosts"."""
    return "%d %s%s" % (len(things), word, "" if len(things) == 1 else "s")


def known(value: object) -> object:
    """Return a value, or a dash where it is not known."""
    return "–" if value in (None, "") else value


def _gib(size: Optional[int]) -> str:
    return gib(size, "–")
