# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes hold how much memory of which GPU, from NVML's lists of processes. Pure.

NVML can give no list (an error, or not supported), a list that lacks processes (in a container it has only those of the
container), and processes without their memory. What a process holds is therefore a pair of limits.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Collection, Optional

from ..gpu.schema import UNIFIED


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
    """What NVML says of the memory of one GPU or MIG device.

    Attributes:
        used_bytes: in use by anybody; None where it is unknown, or the host's own memory (unified).
        free_bytes: None where it is unknown.
        processes: facts of the processes that NVML lists; None where the list cannot be read.
    """

    used_bytes: Optional[int]
    free_bytes: Optional[int]
    processes: Optional[list[dict[str, Any]]]

    def listed(self, pid: int) -> Optional[dict[str, Any]]:
        """Return the facts of a process, None where NVML does not list it."""
        return next((process for process in self.processes or [] if process["pid"] == pid), None)

    def of_unit(self, unit: str) -> list[dict[str, Any]]:
        """Return the listed processes of a systemd unit."""
        return [process for process in self.processes or [] if unit and process.get("unit") == unit]

    def left_by(self, processes: Collection[dict[str, Any]]) -> Optional[int]:
        """Return the bytes in use that are not those of `processes`; None where the use is unknown.

        A process whose memory is unknown counts as none, so that the result is an upper limit for all others.
        """
        if self.used_bytes is None:
            return None
        return max(0, self.used_bytes - sum(process.get("used_bytes") or 0 for process in processes))


@dataclasses.dataclass(frozen=True)
class Held:
    """What one process holds of one GPU: at least `least_bytes`, at most `most_bytes` (None = no limit is known).

    `listed` is whether NVML lists the process there, None where its list cannot be read or the process is not known.
    `alone` is whether everything else that is listed there is known with its bytes, so that what is left is the
    process's or nobody's.
    """

    least_bytes: int
    most_bytes: Optional[int]
    listed: Optional[bool]
    alone: bool = False

    @property
    def exact_bytes(self) -> Optional[int]:
        """The bytes where NVML tells them by process, else None."""
        return self.least_bytes if self.listed and self.least_bytes == self.most_bytes else None


def devices(inventory: dict[str, Any]) -> dict[str, DeviceMemory]:
    """Return {uuid: memory} of the GPUs in the fact `gpu_inventory`, with MIG devices in the place of their GPU."""
    found = {}
    for gpu in inventory.get("gpus") or []:
        unreadable = "processes" in (gpu.get("unsupported") or []) or "processes" in (gpu.get("errors") or {})
        for device in (gpu.get("mig") or {}).get("devices") or [gpu]:
            memory = device.get("memory") or {}
            processes = None if unreadable else device.get("processes")
            used = None if memory.get("kind") == UNIFIED else memory.get("used_bytes")
            if device.get("uuid"):
                found[device["uuid"]] = DeviceMemory(used, memory.get("free_bytes"), processes)
    return found


def held(device: DeviceMemory, pid: Optional[int]) -> Held:
    """Return what a process holds of a GPU; `pid` is None where the process is not known."""
    if pid is None or device.processes is None:
        return Held(0, device.used_bytes, None)
    own = device.listed(pid)
    others = [process for process in device.processes if process is not own]
    alone = all(process.get("used_bytes") is not None for process in others)
    if own is None:
        # The list may lack the process (in a container), but what the listed processes hold is not its own.
        return Held(0, device.left_by(others), False, alone)
    if own.get("used_bytes") is None:
        return Held(0, device.left_by(others), True, alone)
    return Held(own["used_bytes"], own["used_bytes"], True, alone)


def foreign_processes(device: DeviceMemory, own_units: Collection[str]) -> list[dict[str, Any]]:
    """Return the processes on a GPU that belong to no unit of the plan, largest first."""
    found = [process for process in device.processes or [] if process.get("unit") not in own_units]
    return sorted(found, key=lambda process: -(process.get("used_bytes") or 0))
