# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The shapes that this room works with: what is asked for, the GPUs, what a model takes there, and what was chosen.

Bytes are integers named `*_bytes`, contexts are tokens of one slot, None is "unknown" or "not set". What a plan says in
JSON is written by tell/.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from ..common import paths
from ..common.sizes import GIB
from ..memory.weights import Moved
from .wanted import AUTO, Wanted

# Strategies that a user may ask for; "auto" decides between the others.
STRATEGIES = (AUTO, "single", "replicate", "split", "spread")
ALL = "all"  # of cpu_experts
# What becomes of a model's layers: on one GPU, on several, partly on the CPU, all on the CPU.
SINGLE, SPLIT, PARTIAL, CPU = "single", "split", "partial", "cpu"


@dataclasses.dataclass(frozen=True)
class PlanRequest:
    """What a plan is made from: the options of the module placement_info, as the user gave them."""

    gpu_inventory: Any
    models: Any
    ollama_version: Any
    selectors: Any = None
    applied_plan: Any = None
    models_dir: Any = paths.DEFAULT_MODELS_DIR
    environment: Any = None
    overhead_bytes: Any = None
    headroom_bytes: Any = GIB
    listen_address: Any = "127.0.0.1"
    base_port: Any = 11434
    host_headroom_bytes: Any = None
    own_units: Any = ()
    environment_unchecked: Any = None
    cordon: Any = None
    exclude: Any = None
    now: Any = None
    advertise_address: Any = None


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU or MIG device that a plan may use.

    Attributes:
        index: NVML's index. number: what names the GPU in instance names.
        compute_capability: (8, 6), or None where it is not known.
        available_bytes: free memory and what processes of our own units hold.
        foreign_bytes: what processes of others hold.
        exclusive: whether it takes one process only (exclusive compute mode).
        is_slice: whether it is a MIG device.
        unified: whether it shares the host's memory, so that its bytes are the host's.
        degraded: why its health is degraded, or None.
        occupied: why a GPU in exclusive compute mode takes no process of ours, or None.
        libraries: names of the release's CUDA libraries that work with it, the one that Ollama prefers first; () where
            they are not known.
    """

    uuid: str
    index: Optional[int]
    number: int
    pci_bus_id: Optional[str]
    name: Optional[str]
    architecture: Optional[str]
    compute_capability: Optional[tuple[int, ...]]
    total_bytes: int
    available_bytes: int
    foreign_bytes: int = 0
    exclusive: bool = False
    is_slice: bool = False
    numa_node: Optional[int] = None
    unified: bool = False
    degraded: Optional[str] = None
    occupied: Optional[str] = None
    libraries: tuple[str, ...] = ()

    def for_release(self, free_bytes: int) -> dict[str, Any]:
        """The GPU as the rules of a release take it (releases/shapes.py), with this much free memory."""
        return {
            "uuid": self.uuid,
            "total_bytes": self.total_bytes,
            "free_bytes": free_bytes,
            "compute_capability": self.compute_capability,
            "libraries": self.libraries,
            **({"integrated": True} if self.unified else {}),
        }


@dataclasses.dataclass(frozen=True)
class GpuRoom:
    """A GPU and the bytes that it has for one model."""

    gpu: Gpu
    room_bytes: int


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a model's layers are to be distributed, where that is not left to the engine.

    Attributes:
        layers: layers per GPU, in the order of the GPUs that they are asked for; None = the engine's split by free
            memory. A bare tuple, as thousands of them are tried.
        gpu_layers: layers on GPUs, the last of the model; None = all.
        moved: weights that are on another device than their layer, as memory/ takes them; None = none.
    """

    layers: Optional[tuple[int, ...]] = None
    gpu_layers: Optional[int] = None
    moved: Optional[Moved] = None


#: All layers on GPUs, split by the engine.
ENGINE_SPLIT = Layout()


@dataclasses.dataclass(frozen=True)
class PredictedDevice:
    """What a model takes on one GPU.

    Attributes:
        overhead_bytes: CUDA context of the process.
        total_bytes: sum of the parts.
        room_bytes: what the GPU has for this model.
        shared_bytes: what the model takes of that on the host's side, where the GPU shares the host's memory.
        adapter_bytes: LoRA adapters.
        draft_bytes: what proposes further tokens: weights, KV cache and compute buffer.
        draft_compute_bytes: the compute buffer of that alone.
    """

    gpu: Gpu
    layers: int
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    offload_scratch_bytes: int
    projector_bytes: int
    overhead_bytes: int
    total_bytes: int
    room_bytes: int
    shared_bytes: int = 0
    adapter_bytes: int = 0
    draft_bytes: int = 0
    draft_compute_bytes: int = 0

    @property
    def spare_bytes(self) -> int:
        """What the model leaves of its room; negative where it needs more."""
        return self.room_bytes - self.total_bytes - self.shared_bytes


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What a model takes on a set of GPUs, which are in PCI order.

    Attributes:
        gpu_layers, total_layers: layers on GPUs, and of the model, with the output layer.
        fully_on_gpu: whether no weight of a layer is in the host's memory.
        host_bytes: weights and KV cache in the host's memory.
        host_compute_bytes: the compute buffer there.
        host_total_bytes: all that the engine takes there.
        ubatch: tokens of a batch.
        headroom_bytes: what is to stay free on every GPU.
        estimated: whether the compute buffers are a careful estimate, so that less may be there: the architecture has
            not been compared with the engine, or the release's engine is another one.
    """

    gpu_layers: int
    total_layers: int
    fully_on_gpu: bool
    host_bytes: int
    ubatch: int
    context_length: int
    headroom_bytes: int
    devices: tuple[PredictedDevice, ...]
    estimated: bool = False
    host_compute_bytes: int = 0
    host_total_bytes: int = 0

    @property
    def rooms(self) -> tuple[GpuRoom, ...]:
        """The GPUs with the bytes that they have for the model."""
        return tuple(GpuRoom(device.gpu, device.room_bytes) for device in self.devices)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers per GPU, in the order of the devices."""
        return tuple(device.layers for device in self.devices)

    @property
    def total_bytes(self) -> int:
        """Bytes on all GPUs together."""
        return sum(device.total_bytes for device in self.devices)

    def shortfall(self, allowance: int = 0) -> int:
        """Bytes missing on the GPUs, summed; 0 if the model fits.

        Args:
            allowance: bytes of the headroom that may be missing.
        """
        headroom = self.headroom_bytes - allowance
        return sum(max(0, headroom - device.spare_bytes) for device in self.devices)


@dataclasses.dataclass(frozen=True)
class Placed:
    """One instance of a model on a set of GPUs.

    Attributes:
        predicted: what it takes there.
        outcome: SINGLE, SPLIT, PARTIAL or CPU.
        shortfall_bytes: bytes missing; 0 if it fits with the headroom kept.
        refusal: why it cannot be loaded there, or None; one sentence without a full stop.
        split_is_set: whether the plan sets the layers per GPU, so that the engine does not split by free memory.
        batch: the batch that the plan sets, or None.
        batch_is_lowered: whether the model fits only with that batch.
        reserve_bytes: what Ollama must leave free on every GPU so that it puts no more layers there.
    """

    predicted: Predicted
    outcome: str
    shortfall_bytes: int = 0
    refusal: Optional[str] = None
    split_is_set: bool = False
    batch: Optional[int] = None
    batch_is_lowered: bool = False
    reserve_bytes: int = 0

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs, in PCI order."""
        return tuple(device.gpu for device in self.predicted.devices)

    @property
    def uuids(self) -> tuple[str, ...]:
        """The UUIDs of the GPUs, in PCI order."""
        return tuple(device.gpu.uuid for device in self.predicted.devices)

    @property
    def on_gpus_only(self) -> bool:
        """Whether the plan puts all layers on GPUs."""
        return self.outcome in (SINGLE, SPLIT)

    @property
    def tensor_split(self) -> Optional[tuple[int, ...]]:
        """Layers per GPU that the plan sets, in PCI order; None where the engine splits."""
        return self.predicted.layers if self.split_is_set else None


@dataclasses.dataclass(frozen=True)
class Choice:
    """Where one model goes, and why.

    Attributes:
        strategy: the strategy that was chosen; where there is no place, the one that was tried.
        reason: one sentence without a full stop; empty where there is no place.
        placements: one for each instance, in the order of the GPUs; empty where there is no place.
        attempt: the closest attempt where there is no place, or None.
    """

    wanted: Wanted
    strategy: str
    reason: str = ""
    placements: tuple[Placed, ...] = ()
    attempt: Optional[Placed] = None

    @property
    def shortfall_bytes(self) -> Optional[int]:
        """Bytes missing for the closest attempt, or None."""
        return self.attempt.shortfall_bytes if self.attempt else None
