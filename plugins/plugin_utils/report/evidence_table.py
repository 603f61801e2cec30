# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Evidence as a table: predicted, announced by the engine, observed, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import MIB
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.names import with_names
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import (
    Line,
    Span,
    Style,
    columns_of,
    cut,
    line,
    padded,
    sentence,
)

_ROLES = {"pass": "good", "fail": "bad"}
_HEAD = ("MiB", "layers", "predicted", "engine", "observed", "allowed", "busy")
_LONGEST_CELL = 48


def evidence_table(evidence: dict[str, Any], style: Style, host: str = "", labels: Optional[dict] = None) -> list[Line]:
    """Return the lines of evidence; all sizes in MiB.

    What is observed is what the engine says, the CUDA context and the projector; it has to be within what is allowed.

    Args:
        evidence: of module placement_check.
        style: of the terminal.
        host: its name in the inventory, "" to leave it out.
        labels: {uuid: "GPU 0"} of the plan.
    """
    verdict = str(evidence.get("verdict") or "none")
    on = " on %s" % host if host else ""
    lines = [line(Span("Evidence%s. " % on, "title"), Span("Verdict: %s" % verdict, _ROLES.get(verdict, "note")))]
    rows: list[list[Any]] = [list(_HEAD)]
    notes: list[Line] = []
    for instance in evidence.get("instances") or []:
        for model in instance["models"]:
            rows += [[_model_title(instance, model)], *_device_rows(model, style, labels or {})]
            notes += _not_passed(model, style, labels or {})
            for note in model.get("notes") or []:
                notes += sentence(style, note, first="  ", rest="    ")
        notes += _not_passed(dict(instance, name="instance %s" % instance["name"]), style, labels or {})
    lines += list(_aligned(rows)) if len(rows) > 1 else []
    lines += notes
    for finding in evidence.get("diagnosis") or []:
        text = "%s: %s. Remedy: %s" % (finding["finding"], finding["evidence"].rstrip("."), finding["remedy"])
        lines += sentence(style, text, first="  ", rest="    ", role="note")
    return lines


def verdict_of(instance: dict[str, Any], model: dict[str, Any]) -> str:
    """Return the verdict of a model: it does not pass where its instance as a whole fails."""
    failed = any(check["passed"] is False for check in instance.get("checks") or [])
    return "fail" if failed else str(model.get("verdict") or "-")


def _model_title(instance: dict[str, Any], model: dict[str, Any]) -> Line:
    verdict = verdict_of(instance, model)
    rate, seconds = model.get("tokens_per_second"), model.get("load_seconds")
    said = "" if rate is None else ", %g tokens/s" % rate
    said += "" if seconds is None else ", loaded in %g s" % seconds
    name = "  %s on %s: " % (cut(model.get("name"), _LONGEST_CELL), instance["name"])
    return line(name, Span(verdict, _ROLES.get(verdict, "note")), said)


def _device_rows(model: dict[str, Any], style: Style, labels: dict[str, str]) -> Iterator[list[Any]]:
    devices = model.get("devices") or []
    for device in devices:
        least, most = device.get("least_bytes"), device.get("most_bytes")
        busy = device.get("utilization_peak")
        cells = [
            labels.get(device.get("uuid") or "", str(device.get("uuid") or "-")),
            "%s/%s" % (_known(device.get("layers")), _known(model.get("layers_total"))),
            _mib(device.get("predicted_bytes")),
            _mib(device.get("engine_bytes")),
            _mib(device.get("observed_bytes")),
            "-" if least is None or most is None else "%s to %s" % (_mib(least), _mib(most)),
            "-" if busy is None else "%d %%" % busy,
        ]
        yield [cut(cell, _LONGEST_CELL) for cell in cells]
        if style.details:  # what is inside of "observed" and not of "engine"
            inside = _mib(device.get("context_bytes")), _mib(device.get("projector_bytes"))
            yield [line("      %s: context %s, projector %s" % (cut(device.get("uuid"), _LONGEST_CELL), *inside))]
    if not devices:
        layers = "%s/%s" % (_known(model.get("layers_offloaded")), _known(model.get("layers_total")))
        yield ["CPU", cut(layers, _LONGEST_CELL)] + ["-"] * (len(_HEAD) - 2)


def _aligned(rows: list[list[Any]]) -> Iterator[Line]:
    """Lines of rows: the first column to the left, the others to the right. A row of one line is a title."""
    cells = [row for row in rows if len(row) > 1]
    widths = [max(columns_of(row[column]) for row in cells) for column in range(len(cells[0]))]
    for number, row in enumerate(rows):
        if len(row) == 1:
            yield row[0]
            continue
        first = padded(row[0], widths[0])
        others = [" " * (width - columns_of(cell)) + cell for cell, width in zip(row[1:], widths[1:])]
        yield line(Span("    %s  %s" % (first, "  ".join(others)), "label" if not number else ""))


def _not_passed(subject: dict[str, Any], style: Style, labels: dict[str, str]) -> list[Line]:
    """The checks of a model or an instance that did not pass."""
    lines = []
    for check in subject.get("checks") or []:
        if check["passed"] is False or (check["passed"] is None and check.get("required", True)):
            word = "is not as planned" if check["passed"] is False else "is not proven"
            text = "%s: %s %s: %s instead of %s" % (
                subject.get("name"),
                check["name"],
                word,
                or_unknown(check.get("observed")),
                or_unknown(check.get("expected")),
            )
            text = with_names(text, labels)
            lines += sentence(style, text, first="  ", rest="    ", role="bad" if check["passed"] is False else "note")
    return lines


def _mib(size: Optional[float]) -> str:
    return "-" if size is None else "%d" % round(size / MIB)


def _known(value: Any) -> Any:
    return "-" if value is None else value


def or_unknown(value: Any) -> Any:
    return "unknown" if value is None else value
