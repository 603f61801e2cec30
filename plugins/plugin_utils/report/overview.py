# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The end of a run: all hosts on one screen, with the seconds that each stage took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import counted, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import GpuMemory
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import and_list
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import (
    Line,
    Span,
    Style,
    columns_of,
    cut,
    key_of_bars,
    line,
    memory_bar,
    padded,
    sentence,
)

#: So many lines of GPUs are one screen, together with the hosts. With more, only the hosts are shown.
MOST_GPUS = 16
#: With more hosts, only those that somebody has to look at are listed, and the slowest.
MOST_HOSTS = 20
_SLOWEST = 5
_LONGEST_HOST = 24
#: The state of a host that differs from its plan after a run that has only looked.
WOULD_CHANGE = "would change"
#: The states of hosts that were diagnosed.
WITH_FINDINGS, WITHOUT_FINDINGS = "with findings", "without findings"
_ROLES = {
    "proven": "good",
    "as planned": "good",
    "planned": "good",
    WITHOUT_FINDINGS: "good",
    "FAILED": "bad",
    "UNREACHABLE": "bad",
}
#: States of runs that change nothing in any case.
_READ_ONLY = (WOULD_CHANGE, WITH_FINDINGS, WITHOUT_FINDINGS)


@dataclass
class HostOutcome:
    """What became of a host. `state` is a word of the keys of _ROLES, or another one, and `text` says more.

    `gpus` are those of its plan, `observed` the bytes that were seen on them by UUID, `served` pairs of an address and
    the names of the models there, and `seconds` the time by stage.
    """

    name: str
    state: str = "planned"
    text: str = ""
    changed: int = 0
    gpus: list[GpuMemory] = field(default_factory=list)
    observed: dict[str, int] = field(default_factory=dict)
    served: list[tuple[str, list[str]]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether nobody has to look at it."""
        return _ROLES.get(self.state) == "good"


def overview_lines(hosts: Sequence[HostOutcome], stages: Sequence[str], style: Style) -> list[Line]:
    """Return the end of a run.

    Args:
        hosts: in the order in which they are shown.
        stages: names of the stages in the order of a run.
        style: of the terminal.
    """
    lines = [line(Span("Overview: %s" % _counted(hosts), "title"))]
    with_gpus = sum(len(host.gpus) for host in hosts) <= MOST_GPUS
    if any(host.gpus for host in hosts) and (with_gpus or style.details):
        lines += key_of_bars(style)
    shown = [host for host in hosts if len(hosts) <= MOST_HOSTS or style.details or not host.is_well or host.changed]
    for host in shown if style.details else shown[:MOST_HOSTS]:
        lines += _host(host, style, with_gpus or style.details)
    left = len(hosts) - min(len(shown), len(shown) if style.details else MOST_HOSTS)
    if left:
        lines.append(line("and %d more hosts (-v lists all)" % left))
    return lines + _times(hosts, stages)


def _counted(hosts: Sequence[HostOutcome]) -> str:
    states: dict[str, int] = {}
    for host in hosts:
        states[host.state] = states.get(host.state, 0) + 1
    return "%s, %s" % (
        counted(len(hosts), "host"),
        ", ".join("%d %s" % (count, state) for state, count in states.items()) or "nothing done",
    )


def _host(host: HostOutcome, style: Style, with_gpus: bool) -> list[Line]:
    changed = ", %s changed something" % counted(host.changed, "task") if host.changed else ", nothing changed"
    changed = "" if host.state in _READ_ONLY else changed
    name = cut(host.name, _LONGEST_HOST)
    spans = line(Span(name, "title"), ": ", Span(host.state, _ROLES.get(host.state, "note")), changed)
    lines = [spans]
    if host.text:
        lines += sentence(style, host.text, first="  ", rest="  ")
    if with_gpus:
        lines += _gpus(host, style)
    for url, models in host.served if with_gpus else ():
        lines += sentence(style, "%s serves %s" % (url, and_list(models)), first="  ", rest="    ")
    return lines


def _gpus(host: HostOutcome, style: Style) -> list[Line]:
    """A line for each GPU: the bar of the plan, and the bytes predicted and observed."""
    names = [cut("%s %s" % (gpu.label, gpu.name), _LONGEST_HOST) for gpu in host.gpus]
    widest = max([columns_of(name) for name in names], default=0)
    words = [_bytes(gpu, host.observed.get(gpu.uuid)) for gpu in host.gpus]
    cells = max(8, style.width - widest - max([len(one) for one in words], default=0) - 6)
    lines = []
    for gpu, name, text in zip(host.gpus, names, words):
        parts = [("weights", gpu.weights), ("kv", gpu.kv), ("compute", gpu.compute), ("others", gpu.others)]
        drawing = memory_bar(style, parts, gpu.total, min(cells, 40))
        lines.append(line("  ", padded(name, widest), "  ", *drawing, "  ", text))
    return lines


def _bytes(gpu: GpuMemory, observed: int | None) -> str:
    if not gpu.planned:
        return "not used by the plan"
    seen = "" if observed is None else ", observed %s" % gib(observed)
    return "predicted %s%s" % (gib(gpu.planned), seen)


def _times(hosts: Sequence[HostOutcome], stages: Sequence[str]) -> list[Line]:
    """Seconds by host and stage. Stages in which no host did anything are left out, and of many hosts
    all but the slowest."""
    if len(hosts) > MOST_HOSTS:
        hosts = sorted(hosts, key=lambda host: -sum(host.seconds.values()))[:_SLOWEST]
    used = [stage for stage in stages if any(host.seconds.get(stage, 0) >= 0.05 for host in hosts)]
    if not used:
        return []
    rows = [["seconds", *used, "all"]]
    for host in hosts:
        values = [host.seconds.get(stage, 0.0) for stage in used]
        rows.append([cut(host.name, _LONGEST_HOST), *("%.1f" % one for one in [*values, sum(values)])])
    widths = [max(columns_of(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [" " * (width - columns_of(cell)) + cell for cell, width in zip(row[1:], widths[1:])]
        lines.append(line(Span("  ".join([padded(row[0], widths[0]), *cells]), "label" if not number else "")))
    return lines
