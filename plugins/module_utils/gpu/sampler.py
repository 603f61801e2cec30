# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Watch all GPUs of a host for a while, in one child process: peak utilization and peak memory by process."""

from __future__ import annotations

import os
import select

from .deadline import Child, ChildDied, DeadlineExceeded
from .fields import FieldError, Unavailable, call, text


class Sampler:
    """Samples from its creation until `finish`, every `interval` seconds (NVML's own sample period is 1/6 to 1 second)."""

    def __init__(self, pynvml, interval=0.1):
        self._child = Child(_sample, pynvml, interval)

    def finish(self, timeout):
        """Return {"samples": n, "utilization_peak": {uuid: percent or None}}; n is 0 where the driver did not answer in `timeout` seconds."""
        self._child.ask()
        try:
            return self._child.result(timeout)
        except (DeadlineExceeded, ChildDied):
            return {"samples": 0, "utilization_peak": {}}


def _sample(pynvml, interval, stop):
    peaks, rounds = {}, 0
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
        # One more round after the request: NVML shows a sample period that lies behind.
        wanted = bool(select.select([stop], [], [], interval)[0])
    os.close(stop)
    pynvml.nvmlShutdown()
    return {"samples": rounds, "utilization_peak": peaks}
