# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a plan asks of an Ollama release. `versions.release_of` gives the object that answers for a version.

Two classes answer: `v0_30_release.ReleaseSince030`, where llama.cpp decides how many layers each GPU gets, and
`before_0_30.release.ReleaseBefore030`, where Ollama's own estimate decides.
"""

from __future__ import annotations

import abc
from typing import Mapping, Optional, Sequence

from ..common.service_variables import Version, version_text
from ..model.schema import ModelFacts
from . import engine_table, faults, limits, unchecked
from .libraries import RefusedGpu
from .shapes import Decision, Gpu, LoadRequest, PlannedLayers, PlannedLoad
from .speculation import NONE, Speculation

# The releases whose rules were read and compared with recordings. 0.33.0 has those of 0.32.15: its release candidate
# 0.33.0-rc2 was built, run and compared (288 loads), and its placement is planned without a warning.
OLDEST_CHECKED = (0, 5, 13)
NEWEST_CHECKED = (0, 33, 0)


def is_checked(numbers: Version) -> bool:
    """Whether the rules of a release were read and compared, so that it is planned without a warning."""
    return OLDEST_CHECKED <= numbers <= NEWEST_CHECKED


class Release(abc.ABC):
    """One Ollama release.

    Args:
        version: as the user wrote it, for example "v0.32.15".
        numbers: the version as three integers.
        effects: setting -> what it does on this release, one sentence without a full stop.

    Attributes:
        engine: the program that holds a model.
        reads_engine_variables: whether LLAMA_ARG_* of the service environment reach the engine.
        layers_can_be_set: whether a plan can say how many layers each GPU gets (LLAMA_ARG_TENSOR_SPLIT). Where it
            cannot, the release's own estimate decides, and a plan must hold what `decide` returns.
        all_layers_can_be_forced: whether num_gpu above the number of layers does nothing but rule out the CPU.
        keeps_gpu_overhead: whether OLLAMA_GPU_OVERHEAD bytes stay free on every GPU.
        most_gpus: GPUs that one process can use.
        smaller_batches: batches, in tokens, that a plan may set where the one that the release chooses does not fit.
    """

    engine: str
    reads_engine_variables: bool
    layers_can_be_set: bool
    all_layers_can_be_forced: bool
    keeps_gpu_overhead: bool
    most_gpus: int
    smaller_batches: tuple[int, ...]

    def __init__(self, version: str, numbers: Version, effects: dict[str, str]):
        self.version = str(version).strip().lstrip("v")
        self.numbers = numbers
        self.most_gpus = engine_table.of(numbers).most_gpus
        self.effects = effects

    @abc.abstractmethod
    def decide(self, request: LoadRequest) -> Decision:
        """What this release does with one load; the version of the request is this release's."""

    @abc.abstractmethod
    def flash_attention(self, asked: Optional[bool], gpus: Sequence[Gpu]) -> str:
        """What the engine is told of flash attention on these GPUs: "on", "off" or "auto".

        Args:
            asked: what the user sets, which counts on every GPU, or None.
            gpus: the GPUs that the model goes to.
        """

    @abc.abstractmethod
    def batch(
        self,
        model: ModelFacts,
        asked: Optional[int],
        context_length: int,
        parallel: int,
        free: Sequence[int],
        flash: str = "auto",
    ) -> tuple[int, int]:
        """The batch in tokens, and the bytes that the release adds for it to its figure of the model.

        Args:
            model: the model's facts.
            asked: the batch that the request names, or None.
            context_length: tokens of one slot.
            parallel: number of slots.
            free: free bytes of each GPU that the model goes to.
            flash: as `flash_attention` returns it.
        """

    @abc.abstractmethod
    def outputs(
        self, model: ModelFacts, parallel: int, variables: Mapping[str, str], drafted: int = 0
    ) -> Optional[int]:
        """Rows of logits that the engine has room for in its compute buffer, as `Load.outputs` takes them.

        Args:
            model: the model's facts.
            parallel: number of slots.
            variables: the service environment; LLAMA_ARG_POOLING counts.
            drafted: most tokens that are proposed at once for a slot (--spec-draft-n-max), 0 without speculation.

        Returns:
            The rows, or None: one for every token of a batch.
        """

    def speculation(self, model: ModelFacts, asked: Optional[int]) -> Speculation:
        """How this release has its engine propose further tokens for a model; not at all unless a release says so.

        Args:
            model: the model's facts.
            asked: draft_num_predict of the model, or None where it is not set.
        """
        return NONE

    def refused_draft(self, model: ModelFacts) -> Optional[str]:
        """Why the engine of this release does not propose tokens with the draft model of a model, without a full stop;
        None where it does.

        Args:
            model: the model's facts, with those of its draft model.
        """
        return None

    @abc.abstractmethod
    def embeds(self, model: ModelFacts) -> bool:
        """Whether the engine is told to embed with this model, so that it makes no logits (`Load.embedding`)."""

    @abc.abstractmethod
    def one_request_at_a_time(self, model: ModelFacts) -> bool:
        """Whether this release gives the model one slot, whatever OLLAMA_NUM_PARALLEL is."""

    @abc.abstractmethod
    def refuses_cache_type(self, cache_type: str, flash: str) -> bool:
        """Whether the engine ends with an error because a KV cache of this type needs flash attention.

        Args:
            cache_type: "f16", "q8_0" and so on.
            flash: as `flash_attention` returns it.
        """

    @abc.abstractmethod
    def layer_settings(self, planned: PlannedLayers) -> dict[str, str]:
        """The service variables that make this release distribute a model's layers as planned."""

    @abc.abstractmethod
    def evicts(self, last: PlannedLoad, others: Sequence[PlannedLoad]) -> bool:
        """Whether this release unloads models of an instance to load another one, or does not load that one whole.

        Args:
            last: the model that is loaded last.
            others: the models that are loaded already, on the same GPUs.
        """

    @abc.abstractmethod
    def refused_gpu(
        self, compute_capability: Optional[Sequence[int]], driver_version: Optional[str], library: str = ""
    ) -> Optional[RefusedGpu]:
        """Why this release leaves a GPU out, or None.

        Args:
            compute_capability: two integers, or None where it is not known.
            driver_version: text such as "580.95.05", or None where it is not known.
            library: OLLAMA_LLM_LIBRARY, "" where unset.
        """

    def gpu_libraries(
        self, compute_capability: Optional[Sequence[int]], driver_version: Optional[str], library: str = ""
    ) -> tuple[str, ...]:
        """Names of the CUDA libraries with which this release uses a GPU; () where they were not read.

        Args:
            compute_capability, driver_version, library: as of `refused_gpu`.
        """
        return ()

    def refused_set(self, gpus: Sequence[Gpu]) -> Optional[str]:
        """Why one process of this release cannot use these GPUs together, or None; without a full stop.

        Args:
            gpus: as LoadRequest takes them.
        """
        return limits.refused_set(self.numbers, gpus)

    def note_on_host(self, gpu_count: int) -> Optional[str]:
        """What this release left alone does on a host with too many GPUs for one process, or None."""
        return limits.of_host(self.numbers, gpu_count)

    @abc.abstractmethod
    def refused_cache(self, model: ModelFacts, cache_type: str) -> Optional[str]:
        """Why a KV cache of this type is of no use on NVIDIA GPUs, or None; without a full stop.

        Args:
            model: the model's facts.
            cache_type: "f16", "q8_0" and so on, as the user asks for it.
        """

    def refused_architecture(self, architecture: Optional[str]) -> Optional[str]:
        """Why the engine cannot load models of an architecture, or None where it can or that is not known."""
        return None

    def doubted_architecture(self, architecture: Optional[str]) -> Optional[str]:
        """What is not known of an architecture on this release, or None."""
        return None

    def doubted_gpu(self, compute_capability: Optional[Sequence[int]]) -> Optional[str]:
        """What is not known of a GPU on this release, or None; without a full stop."""
        return None

    def library_names(self) -> list[str]:
        """Names of this release's CUDA libraries, as OLLAMA_LLM_LIBRARY takes them; [] where they were not read."""
        return []

    def doubted_library(self, name: str) -> Optional[str]:
        """What is not known of a CUDA library that only a newer release than those read may have, or None."""
        return None

    def faults(self) -> list[dict[str, str]]:
        """Known faults of this release's placement: list of {name, text, remedy}."""
        return faults.known_faults(self.numbers)

    def notes(self) -> list[str]:
        """What the user of a plan should know of this release, one sentence each."""
        note = self._unchecked()
        return [note] if note else []

    def _unchecked(self) -> Optional[str]:
        """A sentence where the rules of this very release were not read, or None."""
        if is_checked(self.numbers):
            return None
        if self.numbers > NEWEST_CHECKED:
            return (
                "Ollama %s is newer than the releases whose placement this collection has checked; it is planned by "
                "the rules of %s, and placement_check tells whether they still hold. Not checked are: %s."
                % (
                    self.version,
                    version_text(NEWEST_CHECKED),
                    "; ".join(unchecked.unchecked_parts(self.version, self.numbers)),
                )
            )
        return (
            "Ollama %s is older than the releases whose placement this collection has checked; it is planned by "
            "the rules of %s: better use a later release." % (self.version, version_text(OLDEST_CHECKED))
        )
