# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The table at the end of the demo: one line per host, model and GPU, from the evidence files only."""

from __future__ import annotations

MIB = 1024**2
HEAD = ("host", "model", "instance", "GPU", "predicted", "engine", "observed", "layers", "verdict")


def table(evidence):
    """Return the table for the contents of evidence files, a list of {host, verdict, instances}.

    Bytes are shown in MiB, unknown values as "-".
    """
    rows = [HEAD]
    for item in evidence:
        models = [(instance, model) for instance in item["instances"] for model in instance["models"]]
        # A host that failed without a failed check is no pass of its models.
        explained = item["verdict"] != "fail" or any(_failed(model) for unused, model in models)
        for instance, model in models:
            failed = _failed(model)
            passed = model["verdict"] if model["verdict"] != "fail" else "FAIL"
            verdict = "FAIL: " + ", ".join(failed) if failed else passed if explained else "FAIL"
            on_cpu = {"uuid": "CPU", "predicted_bytes": None, "engine_bytes": None, "observed_bytes": None}
            for device in model["devices"] or [dict(on_cpu, layers=model["layers_offloaded"])]:
                rows.append(
                    (
                        item["host"],
                        model["name"],
                        instance["name"],
                        device["uuid"],
                        _mib(device["predicted_bytes"]),
                        _mib(device["engine_bytes"]),
                        _mib(device["observed_bytes"]),
                        "%s/%s" % (_known(device["layers"]), _known(model["layers_total"])),
                        verdict,
                    )
                )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _failed(model):
    return [check["name"] for check in model["checks"] if check["passed"] is False]


def _known(value):
    return "-" if value is None else str(value)


def _mib(count):
    return "-" if count is None else "%d" % round(count / MIB)
