# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report as one HTML file that needs no network. Pure but for reading the templates, which compute nothing.

It has no script, so that it can be read, searched and printed everywhere. A large one opens fast because it has few
nodes, and because a browser lays out no host that is closed (`content-visibility`).
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import MIB, counted, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import bars, charts, colours, shapes
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import (
    Figure,
    FleetReport,
    HistoryEntry,
    HostReport,
    LoadRow,
    MeasuredRow,
    MemoryParts,
    ModelReport,
    SpeedEntry,
)
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

_PAGE, _HOST = "report.html.j2", "host.html.j2"
#: Of a fleet this large, details say less of each host; the JSON has all.
MANY_HOSTS = 100
_LISTED, _LISTED_OF_MANY = 50, 8
#: So many hosts that somebody has to look at are opened from the start.
_OPENED = 5
_ROLES = {shapes.AS_PLANNED: "good", shapes.PLANNED: "good", shapes.UNREACHABLE: "bad", shapes.FAILED: "bad"}
#: A state is told by more than its colour. The page's style has them.
_SIGNS = {"good": "✓", "bad": "✗", "note": "!"}


def html_page(report: FleetReport) -> str:
    """Return the page. All values are escaped by the templates' environment."""
    to_look_at = [host.name for host in report.hosts if role(host.state) != "good"]
    opened = {host.name for host in report.hosts} if len(report.hosts) == 1 else set(to_look_at[:_OPENED])
    is_large = len(report.hosts) > MANY_HOSTS
    everywhere = _shared([one for host in report.hosts for one in _settings_of(host)]) if is_large else {}
    most = _LISTED_OF_MANY if is_large else _LISTED
    of_host = functools.partial(settings, is_large=is_large, everywhere=everywhere)
    given = {"is_large": is_large, "most": most, "settings": of_host}

    def section(host: HostReport, number: int) -> Markup:
        return _section(host, {"number": number, "is_open": host.name in opened, **given})

    return _template(_PAGE).render(
        report=report,
        most=most,
        page=colours.PAGE,
        parts=colours.PARTS,
        words=bars.WORDS,
        signs=_SIGNS,
        replicas=replicas,
        line_colours=list(enumerate(colours.LINES)),
        section=section,
        everywhere=everywhere,
        setting_list=setting_list,
    )


def _section(host: HostReport, given: Mapping[str, Any]) -> Markup:
    """A host. What it answered may be what nobody has thought of: then the page says so, and has the other hosts."""
    try:
        return _drawn(host, given)
    except Exception as error:  # pylint: disable=broad-except  # see above
        reason = "%s What was read on it cannot be shown (%s: %s). The JSON beside this file has it."
        words = (host.reason, type(error).__name__, printable(error)[:200])
        return _drawn(HostReport(host.name, host.state, (reason % words).strip()), given)


def _drawn(host: HostReport, given: Mapping[str, Any]) -> Markup:
    return Markup(
        _template(_HOST).render(
            host=host,
            bars=bars.bars,
            setting_list=setting_list,
            in_words=in_words,
            models=distinct_models,
            drawings=charts.drawings,
            chart=charts,
            figure=figure,
            on=on,
            speeds=speeds,
            places=places,
            **given,
        )
    )


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


def places(entry: HistoryEntry) -> str:
    """Return the speeds of a verdict, by model: "gemma3:27b on gpu0 41.5, gpu1 41.6 tokens/s"."""
    found: dict[str, list[str]] = {}
    for place, speed in entry.tokens_per_second.items():
        model, _on, instance = place.rpartition(" on ")
        found.setdefault(model, []).append("%s %g" % (instance, speed))
    return "; ".join("%s on %s tokens/s" % (model, ", ".join(said)) for model, said in found.items())


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


def setting_list(values: Mapping[str, str]) -> Markup:
    """Return settings as HTML: their names and values as code."""
    return Markup(", ").join(Markup("<code>%s=%s</code>") % pair for pair in values.items())


def _settings_of(host: HostReport) -> list[Mapping[str, str]]:
    return [instance.settings for instance in host.instances]


def _shared(all_settings: list[Mapping[str, str]]) -> dict[str, str]:
    """The settings that are equal in all; {} where there is one."""
    first, *others = all_settings or [{}]
    if not others:
        return {}
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def settings(
    host: HostReport, is_large: bool = False, everywhere: Optional[Mapping[str, str]] = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Return what a page says of the settings of a host: (whose they are, settings).

    Args:
        host: the host.
        is_large: whether the fleet is, and the page leaves those of each instance to the JSON.
        everywhere: settings of all hosts, which the page has once.
    """
    before = everywhere or {}
    common = _shared(_settings_of(host))
    if set(common) - set(before):
        yield "All instances", {name: value for name, value in common.items() if name not in before}
    for instance in host.instances if not is_large or not common else []:
        own = {name: value for name, value in instance.settings.items() if name not in {**common, **before}}
        if own:
            yield instance.name, own


def role(state: str) -> str:
    """Return how a state is shown: "good", "bad" or "note"."""
    return _ROLES.get(state, "bad" if state == shapes.NOT_AS_PLANNED else "note")


@functools.lru_cache(maxsize=None)
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(at=_at, counted=counted, gib=_gib, exact=exact, known=known, role=role)
    return environment


@functools.lru_cache(maxsize=None)
def _template(name: str) -> Template:
    return _environment().get_template(name)


def _at(start: float) -> Markup:
    """Where something begins as an attribute of SVG, which is left out for the left edge."""
    return Markup(' x="%g%%"' % start if start else "")


def exact(size: Optional[int]) -> str:
    """Return bytes with their thousands apart: "6 444 044 672 bytes"; the spaces do not break."""
    return "unknown" if size is None else "{:,} bytes".format(size).replace(",", "\u202f")


def known(value: object) -> object:
    """Return a value, or a dash where it is not known."""
    return "–" if value in (None, "") else value


def _gib(size: Optional[int]) -> str:
    return gib(size, "–")
