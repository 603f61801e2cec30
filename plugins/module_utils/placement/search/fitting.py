# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What one model takes on one set of GPUs, as memory/ predicts it for the release that is planned for."""

from __future__ import annotations

from typing import Optional, Sequence

from ...common import engine_variables
from ...memory import estimate as memory
from ...memory import overhead, weights
from ...memory.load import Load
from ...releases.release import Release
from ..shapes import ENGINE_SPLIT, Gpu, GpuRoom, Layout, Predicted, PredictedDevice, Wanted
from .experts import moved_experts


class Fitting:
    """How a release's batch rule, the overhead and the free memory turn a wanted model into bytes per GPU.

    Args:
        release: the release that is planned for.
        overhead_bytes: measured context overhead per process and GPU, or None for the table's figure.
        variables: the user's checked service variables; releases before 0.30 read OLLAMA_GPU_OVERHEAD.
        system: the host's memory as the rules of the release take it, or None where it is not known.
    """

    def __init__(
        self,
        release: Release,
        overhead_bytes: Optional[int] = None,
        variables: Optional[dict[str, str]] = None,
        system: Optional[dict[str, int]] = None,
    ) -> None:
        self.release = release
        self.overhead_bytes = overhead_bytes
        self.variables = variables or {}
        self.system = system
        self.unified = release.reads_engine_variables and engine_variables.unified(self.variables)
        # Thousands of sets of GPUs are tried for the same models: {(id of the Wanted, context): (it, bytes)}.
        self._bare: dict[tuple[int, int], tuple[Wanted, int]] = {}

    def flash_attention(self, wanted: Wanted, gpus: Sequence[Gpu]) -> str:
        """What the engine is told of flash attention on these GPUs: "on", "off" or "auto"."""
        return self.release.flash_attention(
            wanted.flash_attention, [gpu.for_release(gpu.available_bytes) for gpu in gpus]
        )

    def lacks_flash(self, wanted: Wanted, gpus: Sequence[Gpu]) -> bool:
        """Whether the engine would end with "quantized V cache requires flash_attn to be enabled" on these GPUs."""
        return self.release.refuses_cache_type(wanted.cache_type, self.flash_attention(wanted, gpus))

    def refused_set(self, gpus: Sequence[Gpu]) -> Optional[str]:
        """Why one process cannot use these GPUs together, or None; a sentence without a full stop."""
        if len(gpus) <= self.release.most_gpus and len({gpu.libraries for gpu in gpus}) < 2:
            return None  # a quick answer for the thousands of sets that are tried
        return self.release.refused_set([gpu.for_release(gpu.available_bytes) for gpu in gpus])

    def predict(
        self, wanted: Wanted, rooms: Sequence[GpuRoom], context_length: int, layout: Layout = ENGINE_SPLIT
    ) -> Predicted:
        """What a model takes on a set of GPUs.

        Args:
            wanted: the model.
            rooms: the GPUs, in PCI order, with the bytes that each has for the model.
            context_length: tokens of one slot.
            layout: how its layers are distributed.
        """
        gpus = [room.gpu for room in rooms]
        # Layers go by what the engine sees as free, in a process with a CUDA context of its own (load_tensors).
        seen = [self.seen_bytes(room.gpu, room.room_bytes) for room in rooms]
        flash = self.flash_attention(wanted, gpus)
        ubatch = self.release.batch(wanted.facts, wanted.ubatch, context_length, wanted.parallel, seen, flash)[0]
        load = self.load(wanted, context_length, ubatch, flash != "off")
        moved = {**(moved_experts(wanted) if gpus else {}), **(layout.moved or {})}
        estimated = memory.estimate(wanted.facts, layout.layers or seen, load, layout.gpu_layers, moved)
        complete = estimated.gpu_layers == estimated.total_layers
        on_host = estimated.host_bytes + estimated.host_compute_bytes + overhead.HOST_PROCESS_BYTES
        if not gpus:
            on_host += wanted.facts.projector_bytes
        return Predicted(
            gpu_layers=estimated.gpu_layers,
            total_layers=estimated.total_layers,
            fully_on_gpu=complete and not weights.on_host(moved),
            host_bytes=estimated.host_bytes,
            ubatch=ubatch,
            context_length=context_length,
            headroom_bytes=wanted.headroom_bytes,
            devices=tuple(self._device(room, part, on_host) for room, part in zip(rooms, estimated.devices)),
            host_compute_bytes=estimated.host_compute_bytes,
            host_total_bytes=on_host,
            estimated=estimated.estimated or not self.release.reads_engine_variables,
        )

    def load(self, wanted: Wanted, context_length: int, ubatch: int, flash_attention: bool = True) -> Load:
        """The settings of a load of a model.

        Args:
            wanted: the model.
            context_length: tokens of one slot.
            ubatch: tokens of a batch.
            flash_attention: whether the engine uses it.
        """
        proposed = self.release.speculation(wanted.facts, wanted.drafted)
        return Load(
            context_length=context_length,
            parallel=wanted.parallel,
            ubatch=ubatch,
            cache_type=wanted.cache_type,
            flash_attention=flash_attention,
            unified=self.unified,
            outputs=self.release.outputs(wanted.facts, wanted.parallel, self.variables, proposed.tokens),
            embedding=self.release.embeds(wanted.facts),
            op_offload=True,
            speculation=proposed.kind,
            drafted=proposed.tokens,
        )

    def _device(self, room: GpuRoom, part: memory.DeviceEstimate, on_host: int) -> PredictedDevice:
        held = self._overhead(room.gpu)
        return PredictedDevice(
            gpu=room.gpu,
            layers=part.layers,
            weight_bytes=part.weight_bytes,
            kv_bytes=part.kv_bytes,
            compute_bytes=part.compute_bytes,
            offload_scratch_bytes=part.offload_scratch_bytes,
            projector_bytes=part.projector_bytes,
            overhead_bytes=held,
            total_bytes=part.engine_bytes + part.projector_bytes + part.adapter_bytes + held,
            room_bytes=room.room_bytes,
            shared_bytes=on_host if room.gpu.unified else 0,
            adapter_bytes=part.adapter_bytes,
            draft_bytes=part.drafting.total_bytes,
            draft_compute_bytes=part.drafting.compute_bytes,
        )

    def seen_bytes(self, gpu: Gpu, free_bytes: int) -> int:
        """Free memory of a GPU as Ollama and its engine see it: the process that reads it holds a CUDA context itself.

        Args:
            gpu: the GPU.
            free_bytes: what is free by NVML without that process.
        """
        return max(0, free_bytes - self._overhead(gpu)) if self.release.reads_engine_variables else free_bytes

    def _overhead(self, gpu: Gpu) -> int:
        return overhead.context_overhead(gpu.architecture, self.overhead_bytes)[0]

    def may_fit(self, wanted: Wanted, rooms: Sequence[GpuRoom], context_length: int, allowance_bytes: int = 0) -> bool:
        """Whether a model may fit, judged by its weights and KV cache alone: a quick no, without compute buffers."""
        kept = wanted.headroom_bytes - allowance_bytes
        sizes = [room.room_bytes - kept - self._overhead(room.gpu) for room in rooms]
        return min(sizes) >= 0 and self.bare_bytes(wanted, context_length) <= sum(sizes)

    def bare_bytes(self, wanted: Wanted, context_length: int) -> int:
        """Bytes of weights, adapters, KV cache and projector, whatever the GPUs: less than what the model takes."""
        key = (id(wanted), context_length)
        if key not in self._bare:
            size = sum(self.layer_bytes(wanted, context_length, 1)) + wanted.facts.projector_bytes
            self._bare[key] = (wanted, size)  # what is asked for stays alive, and its id with it
        return self._bare[key][1]

    def layer_bytes(self, wanted: Wanted, context_length: int, ubatch: int) -> list[int]:
        """Bytes of each layer with its KV cache and adapters, the output layer last; without experts on the host."""
        sizes = memory.layer_bytes(wanted.facts, self.load(wanted, context_length, ubatch))
        for layer, (size, dummy) in moved_experts(wanted).items():
            sizes[layer] = max(0, sizes[layer] - size)  # blocks that predict further tokens are not counted here
        return sizes
