# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `status`: plan and evidence of this moment, per GPU."""

from __future__ import annotations

import datetime
import os
from typing import Any

from ..common import paths
from ..common.gpu_devices import devices_by_uuid
from ..common.sizes import counted
from ..host import proc
from ..host.last_check import last_check
from ..host.run_lock import is_held
from . import observing
from .applied import applied_plan
from .shapes import FINE, OF_VERDICT, WARNING, Answer, Line, Places
from .status_lines import status_lines

#: What is said while the host is not as it will be.
_RUN = "A run is changing this host at the moment: what is shown may not last."
_BENCHMARK = (
    "A benchmark is measuring an untouched Ollama (%s) at the moment. The instances of the plan are stopped for it and "
    "start again when it ends." % paths.UNTOUCHED_UNIT
)


def status(places: Places) -> Answer:
    """Return what the host shows of its plan now. While a run changes the host, or a benchmark has stopped its
    instances, nothing that is shown is a failure.

    Raises:
        Refused: there is no plan, or it cannot be checked.
    """
    plan = applied_plan(places.plan)
    running = is_held(places.lock)
    # An untouched Ollama is measured under the lock of the host.
    measuring = running and is_held(places.benchmark_lock)
    seen = observing.observe(plan)
    last = last_check(places.verdict)
    lines = [Line(text) for text in _head(plan, places, last)]
    if running:
        lines.append(Line(_BENCHMARK if measuring else _RUN, WARNING))
    data = dict(
        seen.data(),
        plan=dict(ollama_version=plan.get("ollama_version"), applied=_applied(places)),
        run_in_progress=running,
        benchmark_in_progress=measuring,
        last_check=last,
        gpus=seen.inventory.get("gpus") or [],
        gpu_state=seen.inventory.get("state"),
    )
    code = FINE if running else OF_VERDICT[seen.evidence.verdict]
    shown = status_lines(seen.evidence, seen.inventory, plan, _cgroups(seen.inventory))
    return Answer(code, lines + [Line("")] + shown, data)


def _cgroups(inventory: dict[str, Any]) -> dict[int, str]:
    devices = devices_by_uuid(inventory).values()
    pids = {process.get("pid") for device in devices for process in device.get("processes") or []}
    return {pid: proc.cgroup(pid) for pid in sorted(filter(None, pids))}


def _head(plan: dict[str, Any], places: Places, last: dict[str, Any] | None) -> list[str]:
    models = sum(len(instance["models"]) for instance in plan["instances"])
    lines = [
        "Plan: Ollama %s, %s, %s, applied %s"
        % (
            plan.get("ollama_version"),
            counted(len(plan["instances"]), "instance"),
            counted(models, "model"),
            _applied(places) or "at an unknown time",
        )
    ]
    return lines + ["Last check: %s" % ("%(verdict)s at %(time)s" % last if last else "none yet")]


def _applied(places: Places) -> str | None:
    """When the plan was written."""
    try:
        written = os.stat(places.plan).st_mtime
    except OSError:
        return None
    return observing.text_of(datetime.datetime.fromtimestamp(written, datetime.timezone.utc))
