# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Sample the utilization of all GPUs of a host for a while, in one child process."""

from __future__ import annotations

import os
import select
from typing import Any

from ..host.child import Child, ChildDied, DeadlineExceeded
from .fields import FieldError, Unavailable, call, text


class Sampler:
    """Samples from its creation until `finish`, every `interval` seconds (NVML's own period is 1/6 to 1 second)."""

    def __init__(self, pynvml: Any, interval: float = 0.1) -> None:
        self._child = Child(_sample, pynvml, interval)

    def finish(self, timeout: float) -> dict[str, Any]:
        """Return {"samples": n, "utilization_peak": {uuid: percent or None}}.

        Args:
            timeout: seconds to wait for the driver; if it does not answer, there are 0 samples.
        """
        self._child.ask()
        try:
            return self._child.result(timeout)
        except (DeadlineExceeded, ChildDied):
            return {"samples": 0, "utilization_peak": {}}


def _sample(pynvml: Any, interval: float, stop: int) -> dict[str, Any]:
    """Sample until `stop` is readable, in the child."""
    peaks: dict[str, int | None] = {}
    rounds = 0
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, AttributeError):
        return {"samples": 0, "utilization_peak": {}}
    targets = []
    for index in range(call(pynvml, ("nvmlDeviceGetCount",))):
        try:
            handle = call(pynvml, ("nvmlDeviceGetHandleByIndex",), index)
            targets.append((text(call(pynvml, ("nvmlDeviceGetUUID",), handle)), handle))
        except (FieldError, Unavailable):
            continue
    wanted = False
    while True:
        for uuid, handle in targets:
            peaks.setdefault(uuid, None)
            try:
                busy = call(pynvml, ("nvmlDeviceGetUtilizationRates",), handle).gpu
            except (FieldError, Unavailable):
                continue
            peaks[uuid] = max(busy, peaks[uuid] or 0)
        rounds += 1
        if wanted:
            break
        # One more round after the request: NVML shows the sample period that has just ended.
        wanted = bool(select.select([stop], [], [], interval)[0])
    os.close(stop)
    pynvml.nvmlShutdown()
    return {"samples": rounds, "utilization_peak": peaks}
