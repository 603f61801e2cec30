# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Sample the utilization of all GPUs of a host for a while, by GPU and by process, in one child process."""

from __future__ import annotations

import os
import select
import time
from typing import Any

from ..host.child import Child, ChildDied, DeadlineExceeded
from .fields import NOT_FOUND, FieldError, Unavailable, call, text

#: NVML's answers where no process has been busy; the binding raises the error "success" for an empty list.
_NO_PROCESS_WAS_BUSY = (0, NOT_FOUND)


class Sampler:
    """Samples from its creation until `finish`, every `interval` seconds (NVML's own period is 1/6 to 1 second)."""

    def __init__(self, pynvml: Any, interval: float = 0.1) -> None:
        self._child = Child(_sample, pynvml, interval)

    def finish(self, timeout: float) -> dict[str, Any]:
        """Return what was sampled.

        Args:
            timeout: seconds to wait for the driver; if it does not answer, there are 0 samples.

        Returns:
            {"samples": n, "utilization_peak": {uuid: percent}, "busy_processes": {uuid: {pid: percent}}}; None in the
            place of the figures of a GPU that does not support them, and no entry where the driver gave an error.
        """
        self._child.ask()
        try:
            found = self._child.result(timeout)
        except (DeadlineExceeded, ChildDied):
            return _nothing()
        # In JSON, the numbers of the processes are text.
        found["busy_processes"] = {
            uuid: None if peaks is None else {int(pid): percent for pid, percent in peaks.items()}
            for uuid, peaks in found["busy_processes"].items()
        }
        return found


def _nothing() -> dict[str, Any]:
    return {"samples": 0, "utilization_peak": {}, "busy_processes": {}}


def _sample(pynvml: Any, interval: float, stop: int) -> dict[str, Any]:
    """Sample until `stop` is readable, in the child."""
    peaks: dict[str, int | None] = {}
    processes: dict[str, dict[int, int] | None] = {}
    rounds = 0
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, AttributeError):
        return _nothing()
    # NVML keeps samples by process for a while: those from before do not count. Its clock is the host's.
    began = int(time.time() * 1e6)
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
            _sample_gpu(pynvml, handle, uuid, peaks)
            _sample_processes(pynvml, handle, uuid, began, processes)
        rounds += 1
        if wanted:
            break
        # One more round after the request: NVML shows the sample period that has just ended.
        wanted = bool(select.select([stop], [], [], interval)[0])
    os.close(stop)
    pynvml.nvmlShutdown()
    return {"samples": rounds, "utilization_peak": peaks, "busy_processes": processes}


def _sample_gpu(pynvml: Any, handle: Any, uuid: str, peaks: dict[str, int | None]) -> None:
    """Take the utilization of a GPU into its peak."""
    try:
        busy = call(pynvml, ("nvmlDeviceGetUtilizationRates",), handle).gpu
    except Unavailable:
        peaks.setdefault(uuid, None)
    except FieldError:
        pass
    else:
        peaks[uuid] = max(busy, peaks.get(uuid) or 0)


def _sample_processes(
    pynvml: Any, handle: Any, uuid: str, began: int, processes: dict[str, dict[int, int] | None]
) -> None:
    """Take the utilization of a GPU's processes since `began` (microseconds since 1970) into their peaks."""
    try:
        samples = call(pynvml, ("nvmlDeviceGetProcessUtilization",), handle, began)
    except Unavailable:
        processes.setdefault(uuid, None)
        return
    except FieldError as error:
        if error.code not in _NO_PROCESS_WAS_BUSY:
            return
        samples = []
    peaks = processes.get(uuid) or {}
    for sample in samples:
        # Drivers may return samples from before what was asked for.
        if sample.timeStamp < began:
            continue
        peaks[sample.pid] = max(sample.smUtil, peaks.get(sample.pid, 0))
    processes[uuid] = peaks
