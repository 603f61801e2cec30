# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Watch the PCIe links and the clocks of all GPUs for a while: what they are worth shows only while a GPU computes.

An idle GPU lowers its link to generation 1 and its clocks, which is no fault.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any

from ..common.libraries import LibraryMissing, import_pynvml
from ..host.child import Child, ChildDied, DeadlineExceeded
from .device import THROTTLE_FUNCTIONS, throttle_reasons
from .fields import FieldError, Unavailable, call, text

_INTERVAL_SECONDS = 0.2
#: The field of a sample -> NVML's function.
_LINK = {"generation": "nvmlDeviceGetCurrPcieLinkGeneration", "width": "nvmlDeviceGetCurrPcieLinkWidth"}


def watch(seconds: float, timeout: float = 30.0) -> dict[str, dict[str, Any]]:
    """Return what GPUs show while they compute.

    Args:
        seconds: how long they are watched.
        timeout: seconds that the driver may take beyond that.

    Returns:
        {uuid: {"busy_samples": n, "generation": highest, "width": widest, "throttle_reasons": [those that were seen]}}
        of the samples in which a GPU was busy; `generation` and `width` are None where they cannot be read. A GPU that
        did not compute has 0 busy samples. {} where NVML cannot be used.
    """
    try:
        pynvml = import_pynvml()
    except LibraryMissing:
        return {}
    child = Child(_watch, pynvml, seconds)
    try:
        found: dict[str, dict[str, Any]] = child.result(seconds + timeout)
    except (DeadlineExceeded, ChildDied):
        return {}
    return found


def _watch(pynvml: Any, seconds: float, stop: int) -> dict[str, dict[str, Any]]:
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, AttributeError):
        return {}
    found: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + seconds
    while True:
        for index in range(_value(pynvml, ("nvmlDeviceGetCount",)) or 0):
            handle = _value(pynvml, ("nvmlDeviceGetHandleByIndex",), index)
            uuid = handle and _value(pynvml, ("nvmlDeviceGetUUID",), handle)
            if uuid:
                _sample(pynvml, handle, found.setdefault(text(uuid), _nothing()))
        left = end - time.monotonic()
        if left <= 0 or select.select([stop], [], [], min(_INTERVAL_SECONDS, left))[0]:
            break
    os.close(stop)
    pynvml.nvmlShutdown()
    return found


def _nothing() -> dict[str, Any]:
    return {"busy_samples": 0, "generation": None, "width": None, "throttle_reasons": []}


def _sample(pynvml: Any, handle: Any, seen: dict[str, Any]) -> None:
    """Take one sample of a GPU into what was seen of it."""
    rates = _value(pynvml, ("nvmlDeviceGetUtilizationRates",), handle)
    if rates is None or not rates.gpu:
        return
    seen["busy_samples"] += 1
    for field, name in _LINK.items():
        value = _value(pynvml, (name,), handle)
        if value is not None:
            seen[field] = max(value, seen[field] or 0)
    reasons = throttle_reasons(_value(pynvml, THROTTLE_FUNCTIONS, handle))
    seen["throttle_reasons"] = sorted(set(seen["throttle_reasons"]) | set(reasons))


def _value(pynvml: Any, names: tuple[str, ...], *arguments: Any) -> Any:
    try:
        return call(pynvml, names, *arguments)
    except (FieldError, Unavailable):
        return None
