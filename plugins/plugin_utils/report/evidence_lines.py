# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Evidence in lines of text, for people: a table, the diagnosis and the verdict."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import mib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.printable import printable
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import for_people

_WIDEST_CELL = 100
HEAD = ("model", "instance", "GPU", "predicted", "engine", "observed", "busy", "layers", "verdict")


@for_people("evidence of placement_check")
def evidence_lines(evidence, host=""):
    """Lines of text for `evidence` (what placement_check returned); all byte columns in MiB."""
    head = (("host",) if host else ()) + HEAD
    rows = [head]
    for instance in evidence.get("instances") or []:
        for model in instance["models"]:
            verdict = "pass" if all(check["passed"] is not False for check in model.get("checks") or []) else "fail"
            for device in model["devices"] or [{}]:
                rows.append(
                    ((host,) if host else ())
                    + (
                        model.get("name"),
                        instance["name"],
                        device.get("uuid") or "-",
                        mib(device.get("predicted_bytes"), unknown="-"),
                        mib(device.get("engine_bytes"), unknown="-"),
                        mib(device.get("observed_bytes"), unknown="-"),
                        _percent(device.get("utilization_peak")),
                        str(model.get("layers_offloaded") or "-"),
                        verdict,
                    )
                )
    rows = [[printable(cell)[:_WIDEST_CELL] for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for finding in evidence.get("diagnosis") or []:
        lines.append("%s: %s Remedy: %s" % (finding["finding"], finding["evidence"], finding["remedy"]))
    return lines + ["Verdict: %s" % (evidence.get("verdict") or "none")]


def _percent(value):
    return "-" if value is None else "%d %%" % value
