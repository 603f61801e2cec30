# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One model of the plan beside what was observed of it. Pure.

A Comparison says what differs; `checks` lists the differences and `findings` explains them. What counts is NVML's
memory of the engine's own process on each GPU (model_memory.py). The engine's `offloaded 49/49 layers` and a
`size_vram` equal to `size` were both seen on hosts where everything ran on the CPU, so they can fail a model and never
pass it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common.names import served_name
from ..common.sizes import gib
from ..gpu.schema import UNUSABLE
from . import engine_log, engine_settings, gpu_memory, tolerances
from .host_view import ForeignGrowth, HostView
from .model_memory import GpuMemory, ModelMemory
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
ON_DEMAND = "on_demand"  # not loaded, as planned: the first request loads it


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
class Busy:
    """Whether the model computed on one GPU: True, False, or None where that is unknown.

    `percent` is the peak of the GPU, `others` the other processes that computed there, and `is_needed` whether the
    memory there proves the model only together with this.
    """

    uuid: str
    computed: bool | None
    percent: int | None
    others: list[int]
    is_needed: bool
    is_supported: bool


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
        self.environment: dict[str, Any] = dict(instance.get("environment") or {})
        self.name = served_name(model)
        self.model = model
        self.host = host
        self.instance = observed
        self.observed = observed.models.get(self.name) or ObservedModel()
        self.predicted: dict[str, Any] = dict(model.get("predicted") or {})
        self.predicted_devices: list[dict[str, Any]] = self.predicted.get("devices") or []
        self.fully_on_gpu = bool(self.predicted.get("fully_on_gpu"))
        headroom = self.predicted.get("headroom_bytes")
        self.headroom_bytes: int = tolerances.DEFAULT_HEADROOM_BYTES if headroom is None else headroom
        self.memory = ModelMemory(instance, model, self.observed, host)
        self.planned = self.memory.planned

    # -- GPUs ----------------------------------------------------------------------------------------------------------

    def missing_gpus(self) -> list[str]:
        """Return the planned GPUs that the driver does not list."""
        return [uuid for uuid in self.planned if uuid not in self.host.facts]

    def unusable_gpus(self) -> dict[str, str]:
        """Return {uuid: reasons} of the planned GPUs that cannot be used."""
        found = {}
        for uuid in self.planned:
            health = (self.host.facts.get(uuid) or {}).get("health") or {}
            if health.get("state") == UNUSABLE:
                found[uuid] = "; ".join(health.get("reasons") or [])
        return found

    def gpus_listed_twice(self) -> list[str]:
        """Return the planned GPUs whose UUID NVML gives to several devices."""
        twice = gpu_memory.doubled(self.host.inventory)
        return [uuid for uuid in self.planned if uuid in twice]

    def gpus_without_health(self) -> list[str]:
        """Return the planned GPUs of which it is not known whether they can be used (a MIG device has no health)."""
        facts = {uuid: self.host.facts.get(uuid) or {} for uuid in self.planned}
        return [uuid for uuid, fact in facts.items() if "health" in fact and not (fact["health"] or {}).get("state")]

    # -- server and engine ---------------------------------------------------------------------------------------------

    def serving(self) -> str:
        """Return SERVES if nothing says that the model is not loaded or does not answer, or else what says so."""
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
        if not error and self.model.get("resident") is False:
            return ON_DEMAND
        return LOAD_FAILED if error else NOT_LOADED

    def _answering(self) -> str:
        error = self.observed.generation_error
        if self.observed.died or (error and "terminated" in error):
            return ENGINE_DIED
        return NO_ANSWER if error else SERVES

    def death(self) -> str | None:
        """Return how the engine ended, in the words of the server or of `collect`."""
        observed = self.observed
        return observed.died or (observed.generation_error if observed.loaded else observed.load_error)

    def context_lengths(self) -> tuple[int | None, int | None]:
        """Return (planned, loaded) tokens of context, None for what is unknown or no number."""
        loaded = gpu_memory.plausible((self.observed.ps or {}).get("context_length"))
        return self.model.get("context_length"), loaded

    def context_differs(self) -> bool:
        """Return whether the model is loaded with another context length than planned."""
        planned, loaded = self.context_lengths()
        return bool(planned) and loaded is not None and planned != loaded

    def settings(self) -> list[engine_settings.Setting]:
        """Return the settings of the engine beside those of the plan; [] without an engine."""
        if self.observed.engine is None:
            return []
        return engine_settings.compare({"environment": self.environment}, self.model, self.observed.engine)

    # -- other processes -----------------------------------------------------------------------------------------------

    def foreign_growth(self, more_than: int = tolerances.FOREIGN_GROWTH_BYTES) -> list[ForeignGrowth]:
        """Return the planned GPUs where other processes have grown by over `more_than` bytes since planning."""
        grown = [self.host.foreign_growth(uuid) for uuid in self.planned]
        return [growth for growth in grown if growth.process and growth.grown_bytes > more_than]

    def headroom_kept(self) -> dict[str, bool | None]:
        """Return {uuid: whether other processes have left the planned headroom}, None where that is unknown."""
        return {uuid: self.host.keeps_free(uuid, self.headroom_bytes) for uuid in self.planned}

    def headroom_taken(self) -> list[ForeignGrowth]:
        """Return what others have taken of the GPUs where less than the planned headroom is free."""
        return [self.host.taken(uuid) for uuid, kept in self.headroom_kept().items() if kept is False]

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
        return excess if excess > tolerances.host_tolerance(planned) else None

    def sizes_of_server(self) -> tuple[int | None, int | None]:
        """Return (size, size_vram) of /api/ps, None for what is unknown or cannot be: a part above the whole."""
        ps = self.observed.ps or {}
        size = gpu_memory.plausible(ps.get("size"))
        return size, gpu_memory.plausible(ps.get("size_vram"), size)

    def size_vram_is_enough(self) -> bool | None:
        """Return whether /api/ps claims enough memory on GPUs, None where it says nothing.

        All of `size` is expected only of a model that is planned wholly on GPUs: for others the ratio means nothing.
        """
        size, vram = self.sizes_of_server()
        if vram is None or (self.fully_on_gpu and size is None):
            return None
        return vram > 0 and (not self.fully_on_gpu or vram >= (size or 0))

    def engine_bytes(self) -> dict[str, int]:
        """Return {uuid: bytes} that the engine expected or allocated on each GPU, as far as its log says."""
        if self.observed.log is None:
            return {}
        names = self.observed.device_uuids
        return {names[name]: size for name, size in engine_log.gpu_bytes(self.observed.log).items() if name in names}

    def engine_parts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return ({uuid: bytes of KV cache}, {uuid: bytes of compute buffers}) that the engine allocated, as far as its
        log says. Where the log has a GPU and no cache, there is none on it."""
        log, names = self.observed.log, self.observed.device_uuids
        if log is None or not log.cache:
            return {}, {}
        compute = {names[name]: size for name, size in log.compute.items() if name in names}
        return {uuid: 0 for uuid in compute} | {names[n]: size for n, size in log.cache.items() if n in names}, compute

    def dry_runs(self) -> list[DryRun]:
        """Return the engine's dry run and the prediction on every GPU where there are both.

        What it allocated afterwards counts where that is more.
        """
        log, names, found = self.observed.log, self.observed.device_uuids, []
        expected = {names[name]: size for name, size in log.dry_run.items() if name in names} if log else {}
        allocated = {names[name]: size for name, size in log.buffers.items() if name in names} if log else {}
        for device in self.predicted_devices:
            uuid, predicted = device["uuid"], tolerances.model_bytes(device)
            if uuid in expected:
                engine = max(expected[uuid], allocated.get(uuid, 0))
                found.append(DryRun(uuid, engine, predicted, predicted + self.headroom_bytes))
        return found

    def makes_no_dry_run(self) -> bool:
        """Return whether the engine was told not to (LLAMA_ARG_FIT=off)."""
        engine = self.observed.engine
        return engine is not None and (engine.environment or {}).get("LLAMA_ARG_FIT") == "off"

    def placed_otherwise(self) -> list[dict[str, Any]]:
        """Return the predicted devices where the engine itself put other weights or KV cache than planned."""
        return [device for device in self.predicted_devices if self.memory.engine_is_off(device)]

    # -- utilization ---------------------------------------------------------------------------------------------------

    def busy(self) -> list[Busy]:
        """Return for every planned GPU with a layer whether the model computed there while it generated."""
        without = {device["uuid"] for device in self.predicted_devices if device.get("layers") == 0}
        return [self._busy(gpu) for gpu in self.memory.by_gpu() if gpu.uuid not in without]

    def _busy(self, gpu: GpuMemory) -> Busy:
        observed, uuid, device = self.observed, gpu.uuid, self.host.devices.get(gpu.uuid)
        pid = observed.engine.pid if observed.engine else None
        peaks, by_process = observed.utilization_peak or {}, (observed.busy_processes or {}).get(uuid)
        peak, needed = _percent(peaks.get(uuid)), self.memory.is_weak(gpu)
        own = _percent((by_process or {}).get(pid or 0, 0))
        others = [other for other, percent in (by_process or {}).items() if other != pid and percent]
        listed = device.processes if device and device.processes is not None else None
        is_alone = listed is not None and [process["pid"] for process in listed] == [pid]
        is_slice = "gpu_instance_id" in (self.host.facts.get(uuid) or {})  # NVML has no utilization of MIG devices
        told_by_process = is_slice or (observed.busy_processes is not None and uuid in observed.busy_processes)
        computed: bool | None = None
        if peak == 0 or (pid and others and own == 0):
            computed = False
        elif own and uuid in peaks:
            computed = True
        elif peak and pid and not others and told_by_process and (is_alone or not needed):
            computed = True
        # NVML says None for what a GPU does not support; what it does not mention was not sampled.
        supported = not is_slice and (uuid not in peaks or peaks[uuid] is not None)
        return Busy(uuid, computed, peak, others, needed, supported)

    # -- in words ------------------------------------------------------------------------------------------------------

    def planned_text(self) -> str:
        """Return the planned GPUs in words."""
        return ", ".join(self.planned)

    def held_text(self) -> str:
        """Return what the engine holds by NVML in words."""
        texts = []
        for uuid, held in sorted(self.memory.held.items()):
            if held.exact_bytes is not None:
                texts.append("%s on %s" % (gib(held.exact_bytes), uuid))
            elif held.listed or (uuid in self.planned and held.most_bytes != 0):
                texts.append("%s on %s" % (_at_most(held.most_bytes), uuid))
        return ", ".join(texts) or "nothing on any GPU"

    def predicted_text(self) -> str:
        """Return what is predicted in words."""
        return ", ".join(
            "%s on %s" % (gib(device.get("total_bytes")), device["uuid"]) for device in self.predicted_devices
        )


def _percent(value: Any) -> int | None:
    """Return a utilization, None for what is none: drivers give large numbers where they know nothing."""
    return gpu_memory.plausible(value, 100)


def _at_most(size: int | None) -> str:
    return "an unknown amount" if size is None else "at most %s" % gib(size)
