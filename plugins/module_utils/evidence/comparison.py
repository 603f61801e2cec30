# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One model of the plan beside what was observed of it. Pure.

A Comparison says what differs; `checks` lists the differences and `findings` explains them. What counts is NVML's
memory by process and GPU. The engine's `offloaded 49/49 layers` and a `size_vram` equal to `size` were both seen on
hosts where everything ran on the CPU (ollama-behaviour.md 14.8), so they can fail a model and never pass it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common.names import served_name
from ..common.sizes import gib
from ..gpu.schema import UNUSABLE, devices_by_uuid
from . import engine_log, gpu_memory, tolerances
from .planned import planned_uuids
from .shapes import ObservedInstance, ObservedModel

# What became of loading a model and using it (Comparison.serving).
SERVES = "serves"
SERVICE_NOT_ACTIVE = "service_not_active"
SERVER_NOT_REACHABLE = "server_not_reachable"
WOULD_EVICT = "would_evict"
NO_MEMORY_BY_OTHERS = "no_memory_by_others"
ENGINE_DIED = "engine_died"
LOAD_FAILED = "load_failed"
NOT_LOADED = "not_loaded"
NO_ANSWER = "no_answer"

# Memory on a planned GPU (GpuMemory.state).
UNKNOWN = "unknown"
AS_PLANNED = "as_planned"
TOO_LITTLE = "too_little"
TOO_MUCH = "too_much"


@dataclasses.dataclass(frozen=True)
class HostView:
    """What all models of a host share.

    `inventory` is the fact `gpu_inventory` and `devices` its GPUs by UUID. `own_units` are the units of the plan.
    `foreign_bytes_planned` is the memory that other processes held on each GPU when the plan was made.
    """

    inventory: dict[str, Any]
    devices: dict[str, dict[str, Any]]
    own_units: frozenset[str]
    foreign_bytes_planned: dict[str, int]

    @classmethod
    def of(cls, plan: dict[str, Any], inventory: dict[str, Any]) -> HostView:
        """Return the view for a plan and the GPU facts of its host."""
        return cls(
            inventory=inventory,
            devices=devices_by_uuid(inventory),
            own_units=frozenset(instance["unit"] for instance in plan.get("instances") or []),
            foreign_bytes_planned={gpu["uuid"]: gpu.get("foreign_bytes") or 0 for gpu in plan.get("gpus") or []},
        )


@dataclasses.dataclass(frozen=True)
class GpuMemory:
    """Memory of the model on one planned GPU.

    `observed_bytes` is None where NVML lists the engine without its memory.
    """

    uuid: str
    predicted_bytes: int
    observed_bytes: int | None
    state: str


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What the engine expected to use on one GPU, and what the plan predicts there (both without the CUDA context).

    `most_bytes` is the prediction with the headroom of the plan.
    """

    uuid: str
    engine_bytes: int
    predicted_bytes: int
    most_bytes: int

    @property
    def is_above(self) -> bool:
        """Whether the engine expected more than the plan predicts and keeps free."""
        return self.engine_bytes > self.most_bytes


@dataclasses.dataclass(frozen=True)
class ForeignGrowth:
    """Memory that processes outside the plan have taken on a GPU since planning; `process` is the largest of them."""

    uuid: str
    grown_bytes: int
    process: dict[str, Any]


class Comparison:
    """Compares one model of a plan with what was observed.

    Args:
        instance: of the plan.
        model: of that instance.
        observed: of the instance; an empty ObservedInstance where nothing was gathered.
        host: shared by all models of the host.
    """

    def __init__(
        self, instance: dict[str, Any], model: dict[str, Any], observed: ObservedInstance, host: HostView
    ) -> None:
        self.instance_name: str = instance["name"]
        self.unit: str = instance["unit"]
        self.url: str = instance["url"]
        self.name = served_name(model)
        self.model = model
        self.host = host
        self.instance = observed
        self.observed = observed.models.get(self.name) or ObservedModel()
        self.predicted: dict[str, Any] = dict(model.get("predicted") or {})
        self.predicted_devices: list[dict[str, Any]] = self.predicted.get("devices") or []
        self.planned = planned_uuids(model)
        self.fully_on_gpu = bool(self.predicted.get("fully_on_gpu"))
        headroom = self.predicted.get("headroom_bytes")
        self.headroom_bytes: int = tolerances.DEFAULT_HEADROOM_BYTES if headroom is None else headroom
        # With one model on the instance, all processes of the unit are the model's.
        engine = self.observed.engine
        pids = {engine.pid} if engine and len(instance["models"]) > 1 else set()
        #: {uuid: bytes or None} that the model holds by NVML.
        self.held = gpu_memory.held_by(host.devices, pids, self.unit)

    # -- GPUs ----------------------------------------------------------------------------------------------------------

    def inventory_problem(self) -> str | None:
        """Return why the GPUs of the host cannot be read, None if they can."""
        state = self.host.inventory.get("state")
        return None if state == "ok" else str(self.host.inventory.get("reason") or state)

    def missing_gpus(self) -> list[str]:
        """Return the planned GPUs that the driver does not list."""
        return [uuid for uuid in self.planned if uuid not in self.host.devices]

    def unusable_gpus(self) -> dict[str, str]:
        """Return {uuid: reasons} of the planned GPUs that cannot be used."""
        found = {}
        for uuid in self.planned:
            health = (self.host.devices.get(uuid) or {}).get("health") or {}
            if health.get("state") == UNUSABLE:
                found[uuid] = "; ".join(health.get("reasons") or [])
        return found

    # -- server and engine ---------------------------------------------------------------------------------------------

    def serving(self) -> str:
        """Return SERVES if the model is loaded and answers, or else one of the constants that say why not."""
        state = self.instance.unit.get("ActiveState")
        if state not in (None, "active"):
            return SERVICE_NOT_ACTIVE
        if not self.instance.reachable:
            return SERVER_NOT_REACHABLE
        return self._answering() if self.observed.loaded else self._not_loaded()

    def _not_loaded(self) -> str:
        error = self.observed.load_error
        if self.observed.would_evict:
            return WOULD_EVICT
        if error and self.foreign_growth():
            return NO_MEMORY_BY_OTHERS
        if self.observed.died or (error and "terminated" in error):
            return ENGINE_DIED
        return LOAD_FAILED if error else NOT_LOADED

    def _answering(self) -> str:
        error = self.observed.generation_error
        if self.observed.died or (error and "terminated" in error):
            return ENGINE_DIED
        if error and "does not support" not in error:  # an embedding model generates nothing
            return NO_ANSWER
        return SERVES

    def death(self) -> str | None:
        """Return how the engine ended, in the words of the server or of `collect`."""
        observed = self.observed
        return observed.died or (observed.generation_error if observed.loaded else observed.load_error)

    def context_lengths(self) -> tuple[int | None, int | None]:
        """Return (planned, loaded) tokens of context, None for what is unknown."""
        return self.model.get("context_length"), (self.observed.ps or {}).get("context_length")

    def context_differs(self) -> bool:
        """Return whether the model is loaded with another context length than planned."""
        planned, loaded = self.context_lengths()
        return bool(planned) and loaded is not None and planned != loaded

    # -- memory --------------------------------------------------------------------------------------------------------

    def memory_by_gpu(self) -> list[GpuMemory]:
        """Return the model's memory on every planned GPU."""
        found = []
        for device in self.predicted_devices:
            predicted = tolerances.total_bytes(device)
            if predicted:
                observed = self.held.get(device["uuid"], 0)
                found.append(GpuMemory(device["uuid"], predicted, observed, _memory_state(device, observed)))
        return found

    def memory_off_plan(self) -> dict[str, int | None]:
        """Return {uuid: bytes} of the GPUs outside the plan where the model holds more than a bare context."""
        return {
            uuid: size
            for uuid, size in self.held.items()
            if uuid not in self.planned and (size or 0) > tolerances.MOST_OF_A_CONTEXT_BYTES
        }

    def holds_gpu_memory(self) -> bool:
        """Return whether the model holds more than a bare context on any GPU, or an unknown amount."""
        return any(size is None or size > tolerances.MOST_OF_A_CONTEXT_BYTES for size in self.held.values())

    def gpus_with_layers(self) -> list[str]:
        """Return the GPUs, planned or not, that hold more than a bare context or an unknown amount."""
        return [uuid for uuid, size in self.held.items() if size is None or self._holds_model(uuid, size)]

    def _holds_model(self, uuid: str, size: int) -> bool:
        for device in self.predicted_devices:
            if device["uuid"] == uuid:
                return bool(tolerances.holds_model(device, size))
        return size > tolerances.MOST_OF_A_CONTEXT_BYTES

    def foreign_growth(self, more_than: int = tolerances.FOREIGN_GROWTH_BYTES) -> list[ForeignGrowth]:
        """Return the planned GPUs where other processes have grown by over `more_than` bytes since planning."""
        grown = []
        for uuid in self.planned:
            others = gpu_memory.foreign_processes(self.host.devices, self.host.own_units, uuid)
            growth = sum(size for size, _process in others) - self.host.foreign_bytes_planned.get(uuid, 0)
            if others and growth > more_than:
                grown.append(ForeignGrowth(uuid, growth, others[0][1]))
        return grown

    def headroom_taken(self) -> list[ForeignGrowth]:
        """Return the growth of other processes on the GPUs where less than the planned headroom is free."""
        return [
            growth
            for growth in self.foreign_growth()
            if (self.host.devices[growth.uuid]["memory"].get("free_bytes") or 0) < self.headroom_bytes
        ]

    # -- what the engine and the server say ----------------------------------------------------------------------------

    def layers_missing(self) -> bool:
        """Return whether the engine put fewer layers on GPUs than planned."""
        log, planned = self.observed.log, self.predicted.get("gpu_layers")
        return log is not None and log.layers is not None and planned is not None and log.layers < planned

    def buffers_only_on_cpu(self) -> bool:
        """Return whether the engine logged buffers, and none of them on a GPU."""
        log = self.observed.log
        return log is not None and bool(log.buffers) and not any(map(engine_log.is_gpu, log.buffers))

    def host_excess_bytes(self) -> int | None:
        """Return by how much the engine's buffers in host memory exceed the plan; None where that is unknown or little.

        It can only explain why a GPU holds too little: with mmap such a buffer is counted from its first to its last
        tensor in the file.
        """
        log, planned = self.observed.log, self.predicted.get("host_bytes")
        if log is None or planned is None:
            return None
        excess = sum(size for device, size in log.buffers.items() if not engine_log.is_gpu(device)) - planned
        return excess if excess > tolerances.tolerance(planned) else None

    def sizes_of_server(self) -> tuple[int | None, int | None]:
        """Return (size, size_vram) of /api/ps, None for what is unknown."""
        ps = self.observed.ps or {}
        return ps.get("size"), ps.get("size_vram")

    def size_vram_is_enough(self) -> bool | None:
        """Return whether /api/ps claims enough memory on GPUs, None where it says nothing.

        All of `size` is expected only of a model that is planned wholly on GPUs: for others the ratio means nothing.
        """
        size, vram = self.sizes_of_server()
        if vram is None:
            return None
        return vram > 0 and (not self.fully_on_gpu or vram >= (size or 0))

    def engine_bytes(self) -> dict[str, int]:
        """Return {uuid: bytes} that the engine expected or allocated on each GPU, as far as its log says."""
        if self.observed.log is None:
            return {}
        names = self.observed.device_uuids
        return {names[name]: size for name, size in engine_log.gpu_bytes(self.observed.log).items() if name in names}

    def dry_runs(self) -> list[DryRun]:
        """Return the engine's dry run and the prediction on every GPU where there are both."""
        engine, found = self.engine_bytes(), []
        for device in self.predicted_devices:
            if device["uuid"] in engine:
                predicted = tolerances.model_bytes(device)
                most = predicted + self.headroom_bytes
                found.append(DryRun(device["uuid"], engine[device["uuid"]], predicted, most))
        return found

    def idle_gpus(self) -> list[str]:
        """Return the planned GPUs that computed nothing while the model generated."""
        peaks = self.observed.utilization_peak or {}
        return [uuid for uuid in self.planned if peaks.get(uuid) == 0]

    # -- in words ------------------------------------------------------------------------------------------------------

    def planned_text(self) -> str:
        """Return the planned GPUs in words."""
        return ", ".join(self.planned)

    def held_text(self) -> str:
        """Return what the model holds by NVML in words."""
        if not self.held:
            return "nothing on any GPU"
        return ", ".join("%s on %s" % (gib(size), uuid) for uuid, size in sorted(self.held.items()))

    def predicted_text(self) -> str:
        """Return what is predicted in words."""
        return ", ".join(
            "%s on %s" % (gib(device.get("total_bytes")), device["uuid"]) for device in self.predicted_devices
        )


def _memory_state(device: dict[str, Any], observed_bytes: int | None) -> str:
    if observed_bytes is None:
        return UNKNOWN
    holds_model = tolerances.holds_model(device, observed_bytes)
    if holds_model and not tolerances.is_far(device, observed_bytes):
        return AS_PLANNED
    return TOO_LITTLE if not holds_model or observed_bytes < tolerances.total_bytes(device) else TOO_MUCH
