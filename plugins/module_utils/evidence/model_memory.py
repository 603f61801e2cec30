# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of one model on the GPUs, as NVML shows it for the engine's own process, beside the plan. Pure.

What proves a model on a GPU: NVML lists the engine's process there with its bytes, between the limits (tolerances.py).
Where NVML lists the process without its bytes, the use of the whole GPU proves it only if every other process that is
listed there is known with its bytes, and what is left is between the limits. Where NVML lists no processes, only the
growth of that use proves it, while this check loaded the model and nothing else of the plan that is on that GPU. In all
other cases the use of the GPU is an upper limit: below the plan it is a failure, and above it proves nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from . import engine_log, gpu_memory, tolerances
from .gpu_memory import Held
from .host_view import HostView
from .planned import planned_uuids
from .shapes import ObservedModel
from .tolerances import Limits

# Memory on a planned GPU (GpuMemory.state).
UNKNOWN = "unknown"
AS_PLANNED = "as_planned"
TOO_LITTLE = "too_little"
TOO_MUCH = "too_much"

# What a state rests on (GpuMemory.by).
BY_PROCESS = "process"
BY_TOTAL = "total"
BY_GROWTH = "growth"

#: What an engine may hold of a GPU that it sees and that has nothing of its model: a large context (553 MiB are
#: recorded), and half of it again.
_CONTEXT_BYTES = tolerances.SMALLEST_SHARE_BYTES * 3 // 2


@dataclasses.dataclass(frozen=True)
class GpuMemory:
    """Memory of the model on one planned GPU.

    Attributes:
        uuid: of the GPU or MIG device.
        predicted_bytes: by the plan.
        held: what the engine's process holds there.
        limits: what it has to hold.
        state: AS_PLANNED, TOO_LITTLE, TOO_MUCH or UNKNOWN.
        by: what the state rests on, None where it is unknown.
    """

    uuid: str
    predicted_bytes: int
    held: Held
    limits: Limits
    state: str
    by: Optional[str] = None

    @property
    def observed_bytes(self) -> Optional[int]:
        """The bytes of the process, or those of the GPU that are credited to it; None where they are unknown."""
        return self.held.exact_bytes if self.by == BY_PROCESS else self.held.most_bytes if self.by else None


class ModelMemory:
    """Compares the memory of one model with the plan.

    Args:
        instance: of the plan.
        model: of that instance.
        observed: of the model.
        host: shared by all models of the host.
    """

    def __init__(
        self, instance: dict[str, Any], model: dict[str, Any], observed: ObservedModel, host: HostView
    ) -> None:
        self._observed = observed
        self._host = host
        self._predicted: dict[str, Any] = dict(model.get("predicted") or {})
        self._environment: dict[str, Any] = dict(instance.get("environment") or {})
        self._num_gpu: Any = (model.get("parameters") or {}).get("num_gpu")
        self.devices: list[dict[str, Any]] = self._predicted.get("devices") or []
        self.planned = planned_uuids(model)
        #: GPUs that the instance uses. An engine has a context on each of them.
        self._visible = set(instance.get("gpu_uuids") or []) | set(self.planned)
        pid = observed.engine.pid if observed.engine else None
        #: {uuid: what the engine's process holds} of all GPUs of the host.
        self.held = {uuid: gpu_memory.held(device, pid, instance.get("unit")) for uuid, device in host.devices.items()}

    # -- planned GPUs --------------------------------------------------------------------------------------------------

    def by_gpu(self) -> list[GpuMemory]:
        """Return the model's memory on every planned GPU."""
        return [self._on(device) for device in self.devices if tolerances.total_bytes(device)]

    def total(self) -> Optional[Limits]:
        """Return the limits of all planned GPUs together; None where each GPU has its own exact ones.

        Where the engine itself divides the layers by the memory that is free, one may be on another GPU than planned,
        but all of them have to be somewhere.
        """
        if not self._layer_may_move() or len(self.planned) < 2 or not self._number_is_fixed():
            return None
        each = [self._limits(device, 0) for device in self.devices if tolerances.total_bytes(device)]
        return Limits(sum(one.least_bytes for one in each), sum(one.most_bytes for one in each))

    def is_weak(self, gpu: GpuMemory) -> bool:
        """Return whether memory alone does not show that the model is on a GPU, so that it has to be seen computing.

        A large model that has its bytes by process, or by what the GPU grew by while it was loaded, is shown by them.
        """
        device = next(device for device in self.devices if device["uuid"] == gpu.uuid)
        return gpu.by not in (BY_PROCESS, BY_GROWTH) or tolerances.is_small(device, self._compute(device).least_bytes)

    def limits(self, uuid: str) -> Limits:
        """Return what the process has to hold on a planned GPU, and (0, 0) for another one."""
        for device in self.devices:
            if device["uuid"] == uuid and tolerances.total_bytes(device):
                return self._limits(device, self._moving_layer(device))
        return Limits(0, 0)

    def _on(self, device: dict[str, Any]) -> GpuMemory:
        uuid = device["uuid"]
        held = self.held.get(uuid) or Held(0, None, None)
        limits = self._limits(device, self._moving_layer(device))
        state, by = self._state(uuid, held, limits)
        return GpuMemory(uuid, tolerances.total_bytes(device), held, limits, state, by)

    def _state(self, uuid: str, held: Held, limits: Limits) -> tuple[str, Optional[str]]:
        exact, most = held.exact_bytes, held.most_bytes
        if exact is not None:
            state = TOO_LITTLE if exact < limits.least_bytes else TOO_MUCH if exact > limits.most_bytes else AS_PLANNED
            return state, BY_PROCESS
        if most is None:
            return UNKNOWN, None
        if most < limits.least_bytes:
            return TOO_LITTLE, BY_TOTAL
        if held.contradicted:
            return UNKNOWN, None
        growth = self._host.growth(uuid) if self._observed.fresh else None
        if held.listed:
            fits = held.alone and most <= limits.most_bytes + tolerances.DRIVER_BYTES
            shrank = growth is not None and growth < limits.least_bytes
            return (AS_PLANNED, BY_TOTAL) if fits and not shrank else (UNKNOWN, None)
        lists_others = bool(self._host.devices[uuid].processes)
        if growth is not None and not lists_others and limits.least_bytes <= growth <= limits.most_bytes:
            return AS_PLANNED, BY_GROWTH
        return UNKNOWN, None

    # -- other GPUs ----------------------------------------------------------------------------------------------------

    def off_plan(self) -> list[str]:
        """Return the GPUs outside the plan where NVML lists the model's engine: with whatever bytes, or with more than
        a context where its instance uses them."""
        return sorted(
            uuid
            for uuid, held in self._held_off_plan()
            if held.listed and (uuid not in self._visible or held.least_bytes > _CONTEXT_BYTES)
        )

    def off_plan_unknown(self) -> list[str]:
        """Return the GPUs outside the plan that are in use, where NVML does not tell by whom, or how much is the
        model's."""
        off = self.off_plan()
        return sorted(
            uuid
            for uuid, held in self._held_off_plan()
            if uuid not in off
            and (
                held.listed is not False and (held.most_bytes is None or held.most_bytes > _CONTEXT_BYTES)
                if uuid in self._visible
                else held.listed is None and held.most_bytes != 0
            )
        )

    def _held_off_plan(self) -> list[tuple[str, Held]]:
        return [(uuid, held) for uuid, held in self.held.items() if uuid not in self.planned]

    def buffers_off_plan(self) -> dict[str, int]:
        """Return {device of the engine's log: bytes} of what it allocated on GPUs that are not in the plan.

        NVML does not see those of other makers (Vulkan0, ROCm0).
        """
        log, names = self._observed.log, self._observed.device_uuids
        found = log.buffers if log else {}
        return {
            name: size
            for name, size in found.items()
            if size and engine_log.is_gpu(name) and not self._is_of_plan(name, names.get(name))
        }

    def _is_of_plan(self, name: str, uuid: Optional[str]) -> bool:
        if not self.planned:
            return False
        return uuid in self._visible if uuid else name.startswith("CUDA")

    def gpus_with_layers(self) -> list[str]:
        """Return the GPUs where the process holds enough for a layer of the model, or may hold it.

        What is in use on a GPU outside the plan, where NVML does not list the process, is that of others.
        """
        found = []
        for uuid, held in self.held.items():
            if uuid not in self.planned and not held.listed:
                continue
            device = next((one for one in self.devices if one["uuid"] == uuid), {})
            context = device.get("overhead_bytes") or tolerances.SMALLEST_SHARE_BYTES
            least_layer = min(self.layer_bytes(device), tolerances.SMALLEST_SHARE_BYTES)
            if held.most_bytes is None or held.most_bytes > int(context * 1.5) + least_layer // 2:
                found.append(uuid)
        return found

    # -- limits --------------------------------------------------------------------------------------------------------

    def engine_exact(self) -> dict[str, int]:
        """Return {uuid: bytes} of weights and KV cache that the engine allocated, as far as its log says."""
        log, names = self._observed.log, self._observed.device_uuids
        if log is None:
            return {}
        return {
            names[name]: size - log.compute[name]
            for name, size in log.buffers.items()
            if engine_log.is_gpu(name) and name in names and name in log.compute
        }

    def planned_exact(self, device: dict[str, Any]) -> int:
        """Return the bytes of weights and KV cache that are planned on a device."""
        return tolerances.exact_bytes(device) - (device.get("projector_bytes") or 0)

    def has_logged_parts(self, device: dict[str, Any]) -> bool:
        """Return whether the log has all that is planned on a device, and KV cache apart from weights."""
        log = self._observed.log
        has_cache = log is not None and bool(log.cache or not device.get("kv_bytes"))
        return has_cache and device["uuid"] in self.engine_exact()

    def engine_is_off(self, device: dict[str, Any]) -> bool:
        """Return whether the engine itself put other weights or KV cache on a device than planned."""
        engine = self.engine_exact().get(device["uuid"])
        if engine is None:
            return False
        planned, layer = self.planned_exact(device), self._moving_layer(device)
        tolerance = tolerances.exact_tolerance(planned)
        if not planned - tolerance - _fewer(device, layer) <= engine <= planned + tolerance + layer:
            return True
        return self._cache_is_off(device, layer)

    def _cache_is_off(self, device: dict[str, Any], layer_bytes: int) -> bool:
        """Return whether the engine allocated another KV cache (with recurrent state) than planned.

        Weights that are too large can make up for a cache that is missing. A layer may be on another GPU, and all of
        the cache is somewhere.

        Args:
            device: of the plan.
            layer_bytes: what may be on another GPU, 0 where nothing may.
        """
        log, names = self._observed.log, self._observed.device_uuids
        on_gpus = [name for name in log.cache if engine_log.is_gpu(name)] if log else []
        if log is None or not log.cache or len({names.get(name, name) for name in on_gpus}) < len(on_gpus):
            return False
        cache = {names[name]: size for name, size in log.cache.items() if name in names}
        if not tolerances.is_cache(device, cache.get(device["uuid"], 0), layer_bytes):
            return True
        if not self._predicted.get("fully_on_gpu") or any(name not in names for name in on_gpus):
            return False
        together = {
            part: sum(one.get(part) or 0 for one in self.devices)
            for part in ("kv_bytes", "draft_bytes", "draft_compute_bytes")
        }
        return not tolerances.is_cache(together, sum(cache.values()), len(self.devices) * tolerances.ROUNDING_BYTES)

    def layer_bytes(self, device: dict[str, Any]) -> int:
        """Return the bytes of a layer on a device, 0 without one."""
        return self.planned_exact(device) // device["layers"] if device.get("layers") else 0

    def _limits(self, device: dict[str, Any], layer_bytes: int) -> Limits:
        exact = self.planned_exact(device)
        if layer_bytes and self._engine_is_believed():
            exact, layer_bytes = self.engine_exact()[device["uuid"]], 0
        own = tolerances.limits(device, exact, self._compute(device))
        return Limits(max(0, own.least_bytes - _fewer(device, layer_bytes)), own.most_bytes + layer_bytes)

    def _layer_may_move(self) -> bool:
        """Return whether the engine itself divides the layers, by the memory that is free when it loads."""
        return not self._number_is_fixed() or (len(self.planned) > 1 and not self._split_is_set())

    def _number_is_fixed(self) -> bool:
        """Return whether the plan decides what of the model is on GPUs, and the engine at most on which of them.

        num_gpu and LLAMA_ARG_TENSOR_SPLIT both switch off that the engine fits the model into the memory that is free
        (llama.cpp, common/fit.cpp).
        """
        predicted = self._predicted
        if predicted.get("fully_on_gpu") or gpu_memory.plausible(self._num_gpu) is not None:
            return True
        all_layers = predicted.get("gpu_layers") and predicted["gpu_layers"] == predicted.get("total_layers")
        return bool(all_layers) and self._split_is_set()

    def _split_is_set(self) -> bool:
        return "LLAMA_ARG_TENSOR_SPLIT" in self._environment

    def _engine_is_believed(self) -> bool:
        """Return whether the engine printed what it put on each GPU, and all of it together is what is planned.

        The process is then held against these figures. They can move a layer and never lower the sum.
        """
        engine = self.engine_exact()
        devices = [device for device in self.devices if device.get("layers")]
        if any(device["uuid"] not in engine or self.engine_is_off(device) for device in devices):
            return False
        planned = sum(self.planned_exact(device) for device in devices)
        return sum(engine[device["uuid"]] for device in devices) >= planned - tolerances.exact_tolerance(planned)

    def _moving_layer(self, device: dict[str, Any]) -> int:
        return self.layer_bytes(device) if self._layer_may_move() else 0

    def _compute(self, device: dict[str, Any]) -> Limits:
        """Return the limits of the compute buffer: the engine's own figure, or what follows from the plan."""
        predicted = tolerances.compute_bytes(device)
        most = predicted + tolerances.compute_tolerance(predicted)
        log, names = self._observed.log, self._observed.device_uuids
        logged = [size for name, size in log.compute.items() if names.get(name) == device["uuid"]] if log else []
        if logged:
            return Limits(min(logged[0], most), max(logged[0], most))
        return Limits(tolerances.least_compute(device, bool(self._predicted.get("estimated"))), most)


def _fewer(device: dict[str, Any], layer_bytes: int) -> int:
    """Return by how much a device may hold less where one layer may be elsewhere.

    The only layer of a GPU may not: nothing of the model would be there.
    """
    return layer_bytes if (device.get("layers") or 0) > 1 else 0
