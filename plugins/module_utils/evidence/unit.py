# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engines of a unit: processes with `--model`. What is said of any process or unit is in host/."""

from __future__ import annotations

import os

from ..host import proc

# For callers that have not moved to host/ yet.
from ..host.proc import activity as activity
from ..host.proc import is_alive as is_alive
from ..host.proc import option as option
from ..host.proc import start_time as start_time
from ..host.systemd import journal as journal
from ..host.systemd import show as show


def engines(unit: str, root: str = "/proc") -> list:
    """Return the engines of a unit, oldest first.

    Returns:
        [{"pid", "model_file", "port", "arguments", "started"}]; `model_file` is the base name of the model's blob
        ("sha256-..."), `started` the start in clock ticks since boot.
    """
    found = []
    for pid in proc.unit_processes(unit, root):
        arguments = proc.arguments(pid, root)
        model, started = proc.option(arguments, "--model"), proc.started(pid, root)
        if model is None or not started:
            continue
        port = proc.option(arguments, "--port") or ""
        found.append(
            {
                "pid": pid,
                "model_file": os.path.basename(model),
                "port": int(port) if port.isdigit() else None,
                "arguments": arguments,
                "started": started,
            }
        )
    return sorted(found, key=lambda engine: (engine["started"], engine["pid"]))
