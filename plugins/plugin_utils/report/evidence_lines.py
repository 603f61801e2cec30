# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Evidence in lines of text, for people: a table, the diagnosis and the verdict."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import mib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import for_people

_WIDEST_CELL = 100
HEAD = (
    "model",
    "instance",
    "GPU",
    "layers",
    "predicted",
    "engine",
    "context",
    "projector",
    "observed",
    "allowed",
    "busy",
    "verdict",
)


@for_people("evidence of placement_check")
def evidence_lines(evidence, host=""):
    """Lines of text for `evidence` (what placement_check returned); all byte columns in MiB.

    What is observed is what the engine says, the context and the projector; it has to be in the limits of `allowed`.
    """
    head = (("host",) if host else ()) + HEAD
    rows = [head]
    for instance in evidence.get("instances") or []:
        for model in instance["models"]:
            for device in model["devices"] or [None]:
                place = _on_cpu(model) if device is None else _on_gpu(model, device)
                cells = (model.get("name"), instance["name"]) + place + (_verdict(instance, model),)
                rows.append(((host,) if host else ()) + cells)
    rows = [[printable(cell)[:_WIDEST_CELL] for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for instance in evidence.get("instances") or []:
        lines += [note for model in instance["models"] for note in model.get("notes") or []]
    for finding in evidence.get("diagnosis") or []:
        lines.append("%s: %s Remedy: %s" % (finding["finding"], finding["evidence"], finding["remedy"]))
    return lines + ["Verdict: %s" % (evidence.get("verdict") or "none")]


def _on_gpu(model, device):
    least, most = device.get("least_bytes"), device.get("most_bytes")
    return (
        device.get("uuid") or "-",
        "%s of %s" % (_known(device.get("layers")), _known(model.get("layers_total"))),
        _mib(device.get("predicted_bytes")),
        _mib(device.get("engine_bytes")),
        _mib(device.get("context_bytes")),
        _mib(device.get("projector_bytes")),
        _mib(device.get("observed_bytes")),
        "-" if least is None or most is None else "%s to %s" % (_mib(least), _mib(most)),
        _percent(device.get("utilization_peak")),
    )


def _on_cpu(model):
    layers = "%s of %s" % (_known(model.get("layers_offloaded")), _known(model.get("layers_total")))
    return ("-", layers) + ("-",) * 7


def _verdict(instance, model):
    """The verdict of a model: it does not pass where its instance as a whole fails."""
    failed = any(check["passed"] is False for check in instance.get("checks") or [])
    return "fail" if failed else model.get("verdict") or "-"


def _mib(size):
    return mib(size, unknown="-")


def _known(value):
    return "-" if value is None else value


def _percent(value):
    return "-" if value is None else "%d %%" % value
