# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The processes that NVML lists on a GPU or MIG device."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from ..host import proc
from . import schema
from .fields import FieldError, Fields, Unavailable, call, text

#: (process, (GPU instance, compute instance)); the instances are None outside a MIG device.
Listed = Tuple[schema.Process, Tuple[Optional[int], Optional[int]]]

#: Kind of a process -> middle of NVML's function names. A process that computes and draws is in several of its lists.
_PROCESS_LISTS = (("compute", "Compute"), ("compute", "MPSCompute"), ("graphics", "Graphics"))


def read(fields: Fields, handle: Any, total_bytes: int | None) -> list[Listed]:
    """Return the processes that NVML lists on a GPU or MIG device, one entry per PID."""
    found: dict[int, Listed] = {}
    for kind, stem in _PROCESS_LISTS:
        for entry in _listed(fields, handle, stem):
            used = entry.usedGpuMemory
            # Drivers 535.43 to 535.86 changed the structure without its version: such figures are meaningless.
            if used is not None and total_bytes is not None and used > total_bytes:
                used = None
            if entry.pid in found:
                process = found[entry.pid][0]
                process.used_bytes = used if process.used_bytes is None else max(process.used_bytes, used or 0)
                continue
            name = proc.name(entry.pid)
            process = schema.Process(
                pid=entry.pid,
                name=_name_by_nvml(fields.pynvml, entry.pid) if name is None else name,
                used_bytes=used,
                unit=proc.unit_of(entry.pid),
                type=kind,
            )
            instances = (getattr(entry, "gpuInstanceId", None), getattr(entry, "computeInstanceId", None))
            found[entry.pid] = (process, instances)
    return [found[pid] for pid in sorted(found)]


def _listed(fields: Fields, handle: Any, stem: str) -> list[Any]:
    """Return one of NVML's lists of processes. Only the list of computing processes is a field of its own."""
    names = tuple("nvmlDeviceGet%sRunningProcesses%s" % (stem, version) for version in ("_v3", "_v2", ""))
    if stem == "Compute":
        return fields.read("processes", names, handle, convert=list) or []
    try:
        return call(fields.pynvml, names, handle) or []
    except (FieldError, Unavailable):
        return []


def _name_by_nvml(pynvml: Any, pid: int) -> str | None:
    """Return NVML's name of a process that is not in this PID namespace."""
    try:
        return text(call(pynvml, ("nvmlSystemGetProcessName",), pid)).split("/")[-1] or None
    except (FieldError, Unavailable):
        return None
