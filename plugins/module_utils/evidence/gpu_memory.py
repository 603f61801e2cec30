# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes hold how much memory of which GPU, from NVML's lists of processes. Pure.

`devices` is {uuid: facts of a GPU or MIG device} (gpu.schema.devices_by_uuid).
"""

from __future__ import annotations

from typing import Any, Collection


def held_by(devices: dict[str, dict], pids: Collection[int], unit: str) -> dict[str, int | None]:
    """Return the memory that processes hold on each GPU where NVML lists them.

    Args:
        devices: facts by UUID.
        pids: the processes; empty for all processes of `unit`.
        unit: systemd unit.

    Returns:
        {uuid: bytes}; None instead of bytes where NVML lists a process without its memory, and it cannot be worked out
        from the other processes either.
    """
    held = {}
    for uuid, device in devices.items():
        processes = device.get("processes") or []
        own = [
            process
            for process in processes
            if (process["pid"] in pids if pids else unit and process.get("unit") == unit)
        ]
        if not own:
            continue
        if all(process.get("used_bytes") is not None for process in own):
            held[uuid] = sum(process["used_bytes"] for process in own)
        else:
            held[uuid] = _remainder(device, [process for process in processes if process not in own])
    return held


def _remainder(device: dict[str, Any], others: list[dict]) -> int | None:
    """Return the memory in use that the other processes do not explain."""
    used = (device.get("memory") or {}).get("used_bytes")
    if used is None or any(process.get("used_bytes") is None for process in others):
        return None
    return max(0, used - sum(process["used_bytes"] for process in others))


def foreign_processes(devices: dict[str, dict], own_units: Collection[str], uuid: str) -> list[tuple[int, dict]]:
    """Return (bytes, process) of the processes on a GPU that belong to no unit of the plan, largest first."""
    processes = (devices.get(uuid) or {}).get("processes") or []
    found = [(process.get("used_bytes") or 0, process) for process in processes if process.get("unit") not in own_units]
    return sorted(found, key=lambda pair: -pair[0])
