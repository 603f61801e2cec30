# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The host of a plan as NVML shows it: what all its models share. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from ..common.gpu_devices import devices_by_uuid
from ..gpu import schema
from . import gpu_memory, tolerances
from .answers import Compared, compared
from .gpu_memory import DeviceMemory
from .planned import planned_uuids
from .shapes import Answer, Observations, Rules

#: Without its driver, no process of a host can use a GPU of NVIDIA's. A process that runs keeps its GPU in all other
#: states: with a new library beside the old kernel module, too.
_NO_GPU_STATES = (schema.NO_DEVICES, schema.NO_LIBRARY, schema.DRIVER_NOT_LOADED)


@dataclasses.dataclass(frozen=True)
class ForeignGrowth:
    """Memory that processes outside the plan have taken on a GPU since planning.

    `process` is the largest of them, {} where NVML lists none.

    `unknown` is whether NVML lists some of these processes without their memory, or no processes at all.
    """

    uuid: str
    grown_bytes: int
    process: dict[str, Any]
    unknown: bool


@dataclasses.dataclass(frozen=True)
class HostView:
    """What all models of a host share.

    Attributes:
        inventory: the fact `gpu_inventory`.
        facts: its GPUs and MIG devices by UUID.
        devices: what NVML says of their memory, by UUID.
        own_units: the units of the plan.
        foreign_bytes_planned: memory that other processes held on each GPU when the plan was made.
        available_bytes_planned: memory of each GPU that the plan counts on.
        predicted_bytes: what the plan puts on each GPU.
        models_on: number of planned models on each GPU.
        used_before: bytes in use on each GPU before this check loaded anything.
        release: of Ollama that the plan is made for; None where it does not say.
        rules: of who may connect to the instances.
        replicas: the answers that have replicas on the host beside these, by (unit, name of the model).
    """

    inventory: dict[str, Any]
    facts: dict[str, dict[str, Any]]
    devices: dict[str, DeviceMemory]
    own_units: frozenset[str]
    foreign_bytes_planned: dict[str, int]
    models_on: dict[str, int]
    used_before: dict[str, Optional[int]]
    available_bytes_planned: dict[str, Optional[int]]
    predicted_bytes: dict[str, int]
    release: Optional[str] = None
    rules: Rules = Rules()
    replicas: dict[tuple[str, str], Compared] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, plan: dict[str, Any], observations: Observations) -> HostView:
        """Return the view for a plan and what was observed for it."""
        instances = plan.get("instances") or []
        models_on: dict[str, int] = {}
        predicted: dict[str, int] = {}
        for model in (model for instance in instances for model in instance["models"]):
            for uuid in planned_uuids(model):
                models_on[uuid] = models_on.get(uuid, 0) + 1
            for device in (model.get("predicted") or {}).get("devices") or []:
                predicted[device["uuid"]] = predicted.get(device["uuid"], 0) + tolerances.total_bytes(device)
        return cls(
            inventory=observations.inventory,
            facts=devices_by_uuid(observations.inventory),
            devices=gpu_memory.devices(observations.inventory),
            own_units=frozenset(instance["unit"] for instance in instances),
            foreign_bytes_planned={gpu["uuid"]: gpu.get("foreign_bytes") or 0 for gpu in plan.get("gpus") or []},
            available_bytes_planned={gpu["uuid"]: gpu.get("available_bytes") for gpu in plan.get("gpus") or []},
            predicted_bytes=predicted,
            models_on=models_on,
            used_before=observations.used_before,
            release=plan.get("ollama_version"),
            rules=observations.rules,
            replicas={(one.answer.server, one.answer.model): one for one in compared(_answers(observations))},
        )

    @property
    def is_known(self) -> bool:
        """Whether the state of the GPUs is known at all."""
        return self.inventory.get("state") is not None

    @property
    def has_no_gpu(self) -> bool:
        """Whether it is sure that no process uses a GPU, because there is none or no driver for it."""
        state = self.inventory.get("state")
        nothing_on_bus = state == schema.NO_BINDING and self.inventory.get("unlisted") == []
        # CUDA needs the kernel module and not the library for management.
        unmanaged = state == schema.NO_LIBRARY and bool(self.inventory.get("driver_version"))
        return (state in _NO_GPU_STATES and not unmanaged) or nothing_on_bus

    def problem(self) -> Optional[str]:
        """Return why the GPUs of the host cannot be read, None if they can or nothing is known."""
        state = self.inventory.get("state")
        return None if state in (None, schema.OK) else str(self.inventory.get("reason") or state)

    def growth(self, uuid: str) -> Optional[int]:
        """Return by how many bytes the use of a GPU has grown since before this check loaded models.

        Returns:
            None where that is unknown, and where several planned models are on the GPU, because it is not known whose
            it is then.
        """
        before, device = self.used_before.get(uuid), self.devices.get(uuid)
        if before is None or device is None or device.used_bytes is None or self.models_on.get(uuid, 0) > 1:
            return None
        return device.used_bytes - before

    def foreign_growth(self, uuid: str) -> ForeignGrowth:
        """Return what processes outside the plan have taken of a GPU since planning."""
        device = self.devices.get(uuid) or DeviceMemory(None, None, None)
        others = gpu_memory.foreign_processes(device, self.own_units)
        held = sum(process.get("used_bytes") or 0 for process in others)
        unknown = device.processes is None or any(process.get("used_bytes") is None for process in others)
        grown = held - self.foreign_bytes_planned.get(uuid, 0)
        return ForeignGrowth(uuid, grown, others[0] if others else {}, unknown)

    def taken(self, uuid: str) -> ForeignGrowth:
        """Return what the plan has less of a GPU than when it was made: the growth of other processes, or where that is
        little, what nobody is listed with.

        The latter is in use by a process that NVML does not list (of a container, or one that crashed), or the GPU is
        smaller. What the plan's own processes hold above the plan is not taken by others.
        """
        growth, device = self.foreign_growth(uuid), self.devices.get(uuid)
        available = self.available_bytes_planned.get(uuid)
        if growth.grown_bytes > tolerances.FOREIGN_GROWTH_BYTES or available is None or device is None:
            return growth
        if device.is_unified or device.free_bytes is None:
            return growth
        own = [process for process in device.processes or [] if process.get("unit") in self.own_units]
        held = [process.get("used_bytes") for process in own]
        predicted = self.predicted_bytes.get(uuid, 0)
        lost = available - device.free_bytes - max(predicted, sum(size or 0 for size in held))
        if lost <= tolerances.FOREIGN_GROWTH_BYTES:
            return growth
        unknown = growth.unknown or not held or None in held or device.used_bytes is None
        return ForeignGrowth(uuid, lost, {}, unknown)

    def keeps_free(self, uuid: str, headroom_bytes: int) -> Optional[bool]:
        """Return whether others have left the headroom of a plan on a GPU; None where that is unknown."""
        free = self.devices[uuid].free_bytes if uuid in self.devices else None
        if free is not None and free >= headroom_bytes:
            return True
        taken = self.taken(uuid)
        is_told = bool(taken.process) or not taken.unknown
        if free is not None and is_told and taken.grown_bytes > tolerances.FOREIGN_GROWTH_BYTES:
            return False
        return None if free is None or taken.unknown else True


def _answers(observations: Observations) -> list[Answer]:
    models = (model for instance in observations.instances.values() for model in instance.models.values())
    return [model.answer for model in models if model.answer is not None]
