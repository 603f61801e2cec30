# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An Ollama release from 0.30 on: llama.cpp decides how many layers each GPU gets, and reads LLAMA_ARG_*."""

from __future__ import annotations

import dataclasses
from typing import Mapping, Optional, Sequence, Union

from ..common.sizes import GIB, MIB
from ..memory import kv_cache
from ..model.schema import ModelFacts
from . import engine_start, libraries, limits, v0_30, v0_30_eviction
from . import variable_values as env
from .libraries import RefusedGpu
from .release import Release
from .shapes import Decision, Gpu, LoadRequest, PlannedLayers, PlannedLoad
from .speculation import Speculation, refused_draft, speculation_of


def _expert_settings(cpu_experts: Union[int, str, None]) -> dict[str, str]:
    """What keeps the experts of the first layers on the host: llama.cpp's --cpu-moe and --n-cpu-moe.

    They override the device of the tensors that are named like experts (common/arg.cpp, `llm_ffn_exps_cpu_override`).
    """
    if cpu_experts is None:
        return {}
    if cpu_experts == "all":
        return {"LLAMA_ARG_CPU_MOE": "1"}
    return {"LLAMA_ARG_N_CPU_MOE": str(cpu_experts)}


class ReleaseSince030(Release):
    """Ollama 0.30 or later, see `release.Release`."""

    engine = "llama-server"
    reads_engine_variables = True
    layers_can_be_set = True
    all_layers_can_be_forced = True
    keeps_gpu_overhead = False
    smaller_batches = (1024, 512)

    def decide(self, request: LoadRequest) -> Decision:
        decision = v0_30.decide(dataclasses.replace(request, version=self.numbers))
        visible = [place for place, dummy in env.visible_gpus(request.gpus, request.environment)]
        return limits.within(self.numbers, decision, request.gpus, visible)

    def flash_attention(self, asked: Optional[bool], gpus: Sequence[Gpu]) -> str:
        if asked is not None:
            return "on" if asked else "off"
        return engine_start.flash_attention(gpus, {}, self.numbers)

    def batch(
        self,
        model: ModelFacts,
        asked: Optional[int],
        context_length: int,
        parallel: int,
        free: Sequence[int],
        flash: str = "auto",
    ) -> tuple[int, int]:
        return v0_30.batch_of(
            model, asked, context_length, context_length * parallel, [{"free_bytes": size} for size in free], flash
        )

    def outputs(
        self, model: ModelFacts, parallel: int, variables: Mapping[str, str], drafted: int = 0
    ) -> Optional[int]:
        return v0_30.outputs(model, parallel, variables, self.numbers, drafted)

    def speculation(self, model: ModelFacts, asked: Optional[int]) -> Speculation:
        return speculation_of(model, asked, self.numbers)

    def refused_draft(self, model: ModelFacts) -> Optional[str]:
        return refused_draft(model, self.numbers)

    def embeds(self, model: ModelFacts) -> bool:
        return v0_30.embeds(model)

    def one_request_at_a_time(self, model: ModelFacts) -> bool:
        return v0_30.slots(model, {"OLLAMA_NUM_PARALLEL": "2"}) == 1

    def refuses_cache_type(self, cache_type: str, flash: str) -> bool:
        return kv_cache.CACHE_TYPES[cache_type][0] > 1 and flash == "off"

    def refused_cache(self, model: ModelFacts, cache_type: str) -> Optional[str]:
        return limits.refused_cache(self.numbers, model, cache_type)

    def refused_architecture(self, architecture: Optional[str]) -> Optional[str]:
        return limits.refused_architecture(self.numbers, architecture)

    def doubted_architecture(self, architecture: Optional[str]) -> Optional[str]:
        return limits.doubted_architecture(self.numbers, architecture)

    def layer_settings(self, planned: PlannedLayers) -> dict[str, str]:
        return {**_expert_settings(planned.cpu_experts), **self._split_settings(planned)}

    def _split_settings(self, planned: PlannedLayers) -> dict[str, str]:
        kept = planned.headroom_bytes
        if planned.tensor_split:
            return {"LLAMA_ARG_TENSOR_SPLIT": ",".join(str(layers) for layers in planned.tensor_split)}
        if planned.outcome == "cpu" or planned.forced:
            return {}
        if planned.cpu_allowed and (kept > GIB or planned.adapter_bytes):
            # Where this is set, Ollama no longer adds the projector to it. The fit never counts adapters.
            beside = planned.projector_bytes + planned.adapter_bytes
            return {"LLAMA_ARG_FIT_TARGET": str(-(-(max(kept, GIB) + beside) // MIB))}
        if planned.outcome != "partial" and (kept < GIB or not planned.cpu_allowed):
            # llama.cpp's fit would move layers to the CPU to keep 1 GiB free; the plan keeps less. Half of that, so
            # that a prediction which is off by a few MiB moves nothing.
            return {"LLAMA_ARG_FIT_TARGET": str(kept // 2 // MIB)}
        return {}

    def evicts(self, last: PlannedLoad, others: Sequence[PlannedLoad]) -> bool:
        request = last.request
        left = [gpu["free_bytes"] for gpu in request.gpus]
        for other in others:
            left = [size - held for size, held in zip(left, other.device_bytes)]
        free = [max(0, size) for size in left]
        context_length = request.options["num_ctx"]
        parallel = env.number(request.environment, "OLLAMA_NUM_PARALLEL", 1)
        batch = self.batch(request.model, request.options.get("num_batch"), context_length, parallel, free)
        needed = v0_30.predicted_bytes(request.model, context_length * parallel) + batch[1]
        return v0_30_eviction.evicts(request, needed, [{"free_bytes": size} for size in free])

    def refused_gpu(
        self, compute_capability: Optional[Sequence[int]], driver_version: Optional[str], library: str = ""
    ) -> Optional[RefusedGpu]:
        return libraries.refused_gpu(self.numbers, _capability(compute_capability), driver_version, library)

    def gpu_libraries(
        self, compute_capability: Optional[Sequence[int]], driver_version: Optional[str], library: str = ""
    ) -> tuple[str, ...]:
        driver = libraries.driver_major(driver_version)
        return libraries.usable(self.numbers, _capability(compute_capability), driver, library)

    def doubted_gpu(self, compute_capability: Optional[Sequence[int]]) -> Optional[str]:
        return libraries.doubted_gpu(self.numbers, _capability(compute_capability))

    def library_names(self) -> list[str]:
        return libraries.names(self.numbers)

    def doubted_library(self, name: str) -> Optional[str]:
        return libraries.doubted_library(self.numbers, name)


def _capability(listed: Optional[Sequence[int]]) -> Optional[tuple[int, ...]]:
    return tuple(listed) if listed else None
