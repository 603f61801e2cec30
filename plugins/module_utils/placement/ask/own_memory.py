# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How much memory of a GPU the processes of our own units hold, also where NVML does not tell it. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional

from .selectors import Facts, devices


@dataclasses.dataclass(frozen=True)
class OwnMemory:
    """Whose memory of GPUs is ours.

    Attributes:
        units: names of the systemd units.
        engines: {unit: how many of its processes serve a model; None where that is not told} of those that hold memory
            of the host, so that they run; None where the facts do not have them.
        is_listed: whether NVML lists the processes of a GPU of the host. Then a list that is empty is one of no
            process; in a container all lists are empty.
        applied_plan: the plan on the host, as applied.sound gives it.
    """

    units: set[Optional[str]]
    engines: Optional[Mapping[str, Optional[int]]]
    is_listed: bool
    applied_plan: dict[str, Any]

    def split(self, fact: Facts, device: Facts) -> tuple[int, int]:
        """Return (bytes of our own units' processes, bytes of all others) on a GPU or MIG device.

        Args:
            fact: of the GPU.
            device: the same, or one of its MIG devices.
        """
        if device.get("processes"):
            return self._of_processes(device)
        has_list = "processes" not in (fact.get("unsupported") or [])
        if (device.get("memory") or {}).get("kind") == "unified" or (has_list and self.is_listed):
            return 0, 0
        return self._unlisted(device, has_list), 0

    def _of_processes(self, device: Facts) -> tuple[int, int]:
        own = foreign = 0
        untold: dict[str, int] = {}
        for process in device["processes"]:
            unit, used = process.get("unit"), process.get("used_bytes")
            if unit is None or unit not in self.units:
                foreign += used or 0
            elif used is None:
                untold[unit] = untold.get(unit, 0) + 1
            else:
                own += used
        return own + sum(self._planned(unit, device["uuid"], count) for unit, count in untold.items()), foreign

    def _unlisted(self, device: Facts, has_list: bool) -> int:
        """Bytes of our own units on a device where NVML lists no processes (not supported, or in a container).

        As much as the device has less than when the applied plan was made, and no more than that plan has for as many
        models as the units serve: memory that no process holds is not ours.
        """
        engines = self.engines
        if engines is None:
            engines = {} if has_list else {unit: None for unit in self.units if unit is not None}
        planned = sum(self._planned(unit, device["uuid"], engines[unit]) for unit in self.units & set(engines) if unit)
        before = self.before(device["uuid"]).get("available_bytes")
        lost = before - device["memory"]["free_bytes"] if isinstance(before, int) else 0
        return max(0, min(planned, lost))

    def before(self, uuid: str) -> dict[str, Any]:
        """Return the entry of a GPU in the applied plan, {} without one."""
        return planned_gpu(self.applied_plan, uuid)

    def _planned(self, unit: str, uuid: str, count: Optional[int]) -> int:
        """What the applied plan says that a unit holds on a device with so many models, the largest ones there."""
        models = [
            sum(part["total_bytes"] for part in _predicted(model) if part["uuid"] == uuid)
            for instance in self.applied_plan.get("instances") or []
            if instance.get("unit") == unit
            for model in instance.get("models") or []
        ]
        return sum(sorted(models, reverse=True)[:count])


def _predicted(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (model.get("predicted") or {}).get("devices") or []


def planned_gpu(plan: dict[str, Any], uuid: str) -> dict[str, Any]:
    """Return the entry of a GPU in a plan, {} without one."""
    return next((entry for entry in plan.get("gpus") or [] if entry.get("uuid") == uuid), {})


def own_memory(units: set[Optional[str]], gpu_inventory: Facts, applied_plan: dict[str, Any]) -> OwnMemory:
    """Return whose memory is ours.

    Args:
        units: names of the systemd units whose memory is ours.
        gpu_inventory: facts of gpu_facts, checked by inventory.check_inventory.
        applied_plan: the plan on the host as applied.sound gives it.
    """
    listed = (gpu_inventory.get("host_memory") or {}).get("units")
    engines = None if listed is None else {one["unit"]: one.get("engines") for one in listed if one.get("unit")}
    facts = gpu_inventory.get("gpus") or []
    is_listed = any(device.get("processes") for fact in facts for device in [fact, *devices(fact)])
    return OwnMemory(units, engines, is_listed, applied_plan)
