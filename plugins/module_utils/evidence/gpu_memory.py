# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes hold how much memory of which GPU, from NVML's lists of processes. Pure.

NVML can give no list (an error, or not supported), a list that lacks processes (in a container it has only those of the
container), and processes without their memory. What a process holds is therefore a pair of limits.

Figures that cannot be are unknown: negative ones, those above the memory of the GPU, and those of a UUID that NVML
gives to two GPUs. No process holds more than the whole GPU has in use, whatever NVML lists.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Collection, Optional

from ..common.gpu_devices import devices_of
from ..common.sizes import MIB
from ..gpu.schema import UNIFIED

#: By how much the listed processes together may exceed the use of their GPU, which NVML reads a moment before.
READ_BEFORE_BYTES = 64 * MIB


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
    """What NVML says of the memory of one GPU or MIG device.

    Attributes:
        used_bytes: in use by anybody; None where it is unknown, or the host's own memory (unified).
        free_bytes: None where it is unknown.
        processes: facts of the processes that NVML lists; None where the list cannot be read.
        is_unified: whether it is the host's memory.
    """

    used_bytes: Optional[int]
    free_bytes: Optional[int]
    processes: Optional[list[dict[str, Any]]]
    is_unified: bool = False

    def listed(self, pid: int, unit: Optional[str] = None) -> list[dict[str, Any]]:
        """Return the facts of a process, [] where NVML does not list it.

        A process of another unit is another one, with a number that was given away. NVML may list one several times.
        """
        of_unit = (None, unit) if unit else None
        return [
            process
            for process in self.processes or []
            if process["pid"] == pid and (of_unit is None or process.get("unit") in of_unit)
        ]

    def excess_bytes(self) -> int:
        """Return by how much the listed processes together exceed the use of the GPU, 0 where they do not."""
        if self.used_bytes is None:
            return 0
        excess = _listed_bytes(self.processes or []) - self.used_bytes
        return excess if excess > READ_BEFORE_BYTES else 0

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
    process's or nobody's. `contradicted` is whether NVML's figures contradict each other, so that they prove nothing.
    """

    least_bytes: int
    most_bytes: Optional[int]
    listed: Optional[bool]
    alone: bool = False
    contradicted: bool = False

    @property
    def exact_bytes(self) -> Optional[int]:
        """The bytes where NVML tells them by process, else None."""
        is_exact = self.listed and not self.contradicted and self.least_bytes == self.most_bytes
        return self.least_bytes if is_exact else None


def plausible(value: Any, most: Optional[int] = None) -> Optional[int]:
    """Return a number of bytes, None for what is none: not an integer, negative, or above `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return None if most is not None and value > most else value


def doubled(inventory: dict[str, Any]) -> list[str]:
    """Return the UUIDs that several GPUs or MIG devices of the fact `gpu_inventory` have."""
    uuids = [device.get("uuid") for _gpu, device in _devices(inventory)]
    return sorted({uuid for uuid in uuids if uuid and uuids.count(uuid) > 1})


def devices(inventory: dict[str, Any]) -> dict[str, DeviceMemory]:
    """Return {uuid: memory} of the GPUs in the fact `gpu_inventory`, with MIG devices in the place of their GPU."""
    found = {}
    twice = doubled(inventory)
    for gpu, device in _devices(inventory):
        unreadable = "processes" in (gpu.get("unsupported") or []) or "processes" in (gpu.get("errors") or {})
        uuid, processes = device.get("uuid"), None if unreadable else device.get("processes")
        if uuid in twice:
            found[uuid] = DeviceMemory(None, None, None)
        elif uuid:
            found[uuid] = _memory(device.get("memory") or {}, processes)
    return found


def _devices(inventory: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return [(GPU, the GPU or one of its MIG devices)]."""
    gpus = inventory.get("gpus") or []
    return [(gpu, device) for gpu in gpus for device in devices_of(gpu)]


def _memory(memory: dict[str, Any], processes: Optional[list[dict[str, Any]]]) -> DeviceMemory:
    """Return the memory of a device without the figures that cannot be."""
    total = plausible(memory.get("total_bytes"))
    used, free = (plausible(memory.get(name), total) for name in ("used_bytes", "free_bytes"))
    if processes is not None:
        # A process on a GPU has a context there: 0 is what some drivers say where they do not know.
        processes = [dict(one, used_bytes=plausible(one.get("used_bytes"), total) or None) for one in processes]
    if memory.get("kind") == UNIFIED:
        return DeviceMemory(None, free, processes, is_unified=True)
    if free is not None:  # nothing confirms what is free where it is not known of how much
        free = min(free, max(0, total - max(used or 0, _listed_bytes(processes or [])))) if total else None
    return DeviceMemory(used, free, processes)


def _listed_bytes(processes: Collection[dict[str, Any]]) -> int:
    """Return what the listed processes hold together."""
    largest: dict[int, int] = {}
    for process in processes:
        largest[process["pid"]] = max(largest.get(process["pid"], 0), process.get("used_bytes") or 0)
    return sum(largest.values())


def held(device: DeviceMemory, pid: Optional[int], unit: Optional[str] = None) -> Held:
    """Return what a process holds of a GPU.

    Args:
        device: the GPU.
        pid: of the process; None where it is not known.
        unit: that it is of; None where that is not known.
    """
    if pid is None or device.processes is None:
        return Held(0, device.used_bytes, None)
    own = device.listed(pid, unit)
    others = [process for process in device.processes if process not in own]
    alone = all(process.get("used_bytes") is not None for process in others)
    if not own:
        # The list may lack the process (in a container), but what the listed processes hold is not its own.
        return Held(0, device.left_by(others), False, alone)
    sizes = {process.get("used_bytes") for process in own}
    known = sorted(size for size in sizes if size is not None)
    if len(sizes) > len(known):
        return Held(0, device.left_by(others), True, alone, contradicted=len(sizes) > 1)
    excess = device.excess_bytes()
    return Held(max(0, known[0] - excess), known[-1], True, alone, contradicted=bool(excess) or len(known) > 1)


def foreign_processes(device: DeviceMemory, own_units: Collection[str]) -> list[dict[str, Any]]:
    """Return the processes on a GPU that belong to no unit of the plan, largest first."""
    found = [process for process in device.processes or [] if process.get("unit") not in own_units]
    return sorted(found, key=lambda process: -(process.get("used_bytes") or 0))
