# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The status of a host for people: each GPU with what is planned on it and what was seen, in 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from ..common.gpu_devices import devices_by_uuid
from ..common.sizes import gib
from ..evidence.shapes import Evidence, InstanceEvidence, ModelEvidence
from ..gpu.holders import held_by
from ..gpu.names import shown_numbers
from .shapes import LEVEL_OF_VERDICT, WARNING, Line
from .verdicts import verdict_lines, verdicts

WIDTH = 80
#: A hyphen is part of a name (small:latest-optimized), which a reader copies.
_NAMES: dict[str, Any] = {"break_on_hyphens": False}
_SHORT_UUID = 12  # "GPU-4f5e6d7c": no two GPUs of a host were seen to share these
_COLUMNS = (("INSTANCE", 10), ("MODEL", 27), ("LAYERS", 7), ("PLANNED", 9), ("SEEN", 9), ("VERDICT", 8))


def status_lines(
    evidence: Evidence, inventory: dict[str, Any], plan: dict[str, Any], cgroups: Mapping[int, str] | None = None
) -> list[Line]:
    """Return a table of the GPUs, then the verdict.

    Args:
        evidence: of the plan.
        inventory: the GPU facts.
        plan: whose numbers the GPUs have.
        cgroups: {pid: text of /proc/PID/cgroup} of processes on GPUs, as far as they were read.
    """
    lines = [Line("  " + _row(name for name, _width in _COLUMNS))]
    facts, numbers = devices_by_uuid(inventory), shown_numbers(inventory, plan)
    planned = [device.uuid for _one, model in _models(evidence) for device in model.devices]
    for uuid in list(facts) + sorted(set(planned) - set(facts)):
        lines.append(Line(_gpu_line(uuid, facts.get(uuid), inventory, numbers.get(uuid))))
        lines += _rows_of(uuid, evidence)
        lines += _notes(facts.get(uuid) or {}, {instance.unit for instance in evidence.instances}, cgroups or {})
    if any(not model.devices for _one, model in _models(evidence)):
        lines.append(Line("No GPU"))
        lines += _rows_of(None, evidence)
    lines.append(Line(""))
    for line in verdict_lines(evidence):
        broken = textwrap.wrap(line.text, WIDTH, subsequent_indent="  ", **_NAMES)
        lines += [Line(part, line.level) for part in broken]
    return lines


def _models(evidence: Evidence) -> list[tuple[InstanceEvidence, ModelEvidence]]:
    return [(instance, model) for instance in evidence.instances for model in instance.models]


def _gpu_line(uuid: str, device: dict[str, Any] | None, inventory: dict[str, Any], number: int | None) -> str:
    short = uuid[:_SHORT_UUID]
    if device is None:
        problem = inventory.get("reason") if inventory.get("state") != "ok" else None
        return _cut("GPU ?   %s  is planned and not there: %s" % (short, problem or "the driver does not list it"))
    memory, health = device.get("memory") or {}, device.get("health") or {}
    return _cut(
        "GPU %-3s %s  %s  %s of %s in use%s"
        % (
            "-" if number is None else number,
            short,
            (device.get("name") or "")[:24],
            gib(memory.get("used_bytes"), "?"),
            gib(memory.get("total_bytes"), "?"),
            "" if health.get("state") in (None, "ok") else "  %s" % health["state"],
        )
    )


def _notes(device: dict[str, Any], units: set[str], cgroups: Mapping[int, str]) -> list[Line]:
    """What else holds memory of a GPU, and why its health is not good."""
    others = [one for one in device.get("processes") or [] if one.get("unit") not in units]
    told = ["  outside the plan: %s" % text for text in held_by(others, cgroups)]
    told += ["  %s" % reason for reason in (device.get("health") or {}).get("reasons") or []]
    return [
        Line(part, WARNING) for text in told for part in textwrap.wrap(text, WIDTH, subsequent_indent="    ", **_NAMES)
    ]


def _rows_of(uuid: str | None, evidence: Evidence) -> list[Line]:
    """Rows of what is planned on a GPU or was seen there; of models without a GPU where `uuid` is None."""
    rows, of_instance = [], verdicts(evidence)
    for instance, model in _models(evidence):
        devices = [device for device in model.devices if device.uuid == uuid]
        if not devices and (uuid is not None or model.devices):
            continue
        device = devices[0] if devices else None
        # A model does not pass where its instance as a whole does not.
        verdict = of_instance[instance.name] if model.verdict == "pass" else model.verdict
        cells = (
            instance.name,
            model.name,
            "%s/%s" % (device.layers if device else 0, _known(model.layers_total)),
            gib(device.predicted_bytes, "?") if device else "-",
            gib(device.observed_bytes, "?") if device else "-",
            verdict,
        )
        rows.append(Line("  " + _row(cells), LEVEL_OF_VERDICT[verdict]))
    return rows or [Line("  nothing is planned here")]


def _row(cells: Any) -> str:
    """Cells in their columns; what is too long loses its middle, where names differ least."""
    return " ".join(_shortened(cell, width).ljust(width) for cell, (_name, width) in zip(cells, _COLUMNS)).rstrip()


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    kept = width - 2
    return text[: kept - kept // 2] + ".." + text[len(text) - kept // 2 :]


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 2] + ".."


def _known(value: Any) -> str:
    return "?" if value is None else str(value)
