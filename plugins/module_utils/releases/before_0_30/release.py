# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An Ollama release before 0.30: its own estimate decides how many layers each GPU gets.

The rules of each span of versions are in the modules `v0_5`, `v0_11_5`, `v0_11_11` and `v0_12_11`.
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Mapping, Optional, Sequence

from ...common.service_variables import Version
from ...model.schema import ModelFacts
from .. import limits, release, v0_30
from .. import variable_values as env
from ..libraries import RefusedGpu
from ..shapes import Decision, Gpu, LoadRequest, PlannedLayers, PlannedLoad
from . import common_rules

# discover/gpu.go (CudaComputeMajorMin) to 0.12.10; from 0.13 on what the CUDA library is built for.
LEAST_CAPABILITY = (5, 0)


class ReleaseBefore030(release.Release):
    """An Ollama release before 0.30, see `release.Release`.

    Args:
        version, numbers, effects: as of `release.Release`.
        rules: the module with the rules of this version.
    """

    engine = "ollama runner"
    reads_engine_variables = False
    layers_can_be_set = False
    # A forced num_gpu takes all GPUs, or Ollama searches without end (faults.py).
    all_layers_can_be_forced = False
    keeps_gpu_overhead = True
    smaller_batches = ()

    def __init__(self, version: str, numbers: Version, effects: dict[str, str], rules: ModuleType):
        super().__init__(version, numbers, effects)
        self.rules = rules

    def decide(self, request: LoadRequest) -> Decision:
        decision = self.rules.decide(dataclasses.replace(request, version=self.numbers))
        visible = [place for place, dummy in env.visible_gpus(request.gpus, request.environment)]
        return limits.within(self.numbers, decision, request.gpus, visible)

    def flash_attention(self, asked: Optional[bool], gpus: Sequence[Gpu]) -> str:
        return "auto" if asked is None else "on" if asked else "off"

    def batch(
        self,
        model: ModelFacts,
        asked: Optional[int],
        context_length: int,
        parallel: int,
        free: Sequence[int],
        flash: str = "auto",
    ) -> tuple[int, int]:
        return asked or min(common_rules.DEFAULT_BATCH, context_length), 0

    def outputs(
        self, model: ModelFacts, parallel: int, variables: Mapping[str, str], drafted: int = 0
    ) -> Optional[int]:
        return None

    def embeds(self, model: ModelFacts) -> bool:
        return False

    def one_request_at_a_time(self, model: ModelFacts) -> bool:
        return common_rules.serial(model.architecture, self.numbers) or v0_30.embeds(model)

    def refuses_cache_type(self, cache_type: str, flash: str) -> bool:
        return False  # a quantized cache without flash attention becomes f16

    def refused_cache(self, model: ModelFacts, cache_type: str) -> Optional[str]:
        return limits.refused_old_cache(self.numbers, cache_type)

    def layer_settings(self, planned: PlannedLayers) -> dict[str, str]:
        return {"OLLAMA_GPU_OVERHEAD": str(planned.reserve_bytes)} if planned.reserve_bytes else {}

    def evicts(self, last: PlannedLoad, others: Sequence[PlannedLoad]) -> bool:
        if self.numbers < release.OLDEST_CHECKED:
            return True  # earlier ones held one model at a time, or were not read
        free = []
        counted = [self._counted_bytes(other) for other in others]
        for place, gpu in enumerate(last.request.gpus):
            held = sum(other.device_bytes[place] for other in others)
            own = sum(max(other.device_bytes[place], sizes[place]) for other, sizes in zip(others, counted))
            # The scheduler takes the driver's figure, or the total less its own figures where that is less
            # (`updateFreeSpace`).
            free.append(max(0, min(gpu["free_bytes"] - held, gpu["total_bytes"] - own)))
        gpus = [dict(gpu, free_bytes=size) for gpu, size in zip(last.request.gpus, free)]
        decision = self.decide(dataclasses.replace(last.request, gpus=gpus, residents=({},)))
        return decision.evicts or not common_rules.loads_whole(decision, last.total_layers)

    def _counted_bytes(self, planned: PlannedLoad) -> list[int]:
        """Bytes per GPU that the scheduler counts for a model that is loaded.

        It divides its own prediction by layers; 0 where it goes by what the runner measured.
        """
        size = self.decide(planned.request).predicted_bytes or 0
        return [-(-size * layers // planned.total_layers) for layers in planned.layers]

    def refused_gpu(
        self, compute_capability: Optional[Sequence[int]], driver_version: Optional[str], library: str = ""
    ) -> Optional[RefusedGpu]:
        if compute_capability and tuple(compute_capability) < LEAST_CAPABILITY:
            reason = "Ollama needs compute capability %d.%d, it has %s" % (
                LEAST_CAPABILITY + (".".join(str(part) for part in compute_capability),)
            )
            return RefusedGpu(reason, lasting=True)
        return None

    def notes(self) -> list[str]:
        return (
            super().notes()
            + [
                "Predicted bytes are those of the engine of Ollama 0.30 and later; the engine of %s differs."
                % self.version
            ]
            + [
                "Known fault of Ollama %s: %s; workaround: %s." % (self.version, fault["text"], fault["remedy"])
                for fault in self.faults()
            ]
        )
