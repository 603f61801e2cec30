# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama 0.30 and later start llama-server: flash attention, batch, projector and margins.

Source: llm/llama_server.go, server/sched.go, server/routes.go and ml/device.go, compared at every release tag from
0.30.0 to 0.32.15.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Tuple

from ..common.engine_variables import shares
from ..common.sizes import GIB, MIB
from ..model.schema import ModelFacts
from . import llama_fit
from . import variable_values as env

Gpu = Mapping[str, Any]  # free_bytes, total_bytes, library, compute_capability, integrated
Environment = Mapping[str, Any]  # variables of the service
Version = Tuple[int, ...]


# Least compute capability for flash attention, newest version first (`cudaFlashAttentionSupported`); 7.2 never has it.
FLASH_CAPABILITY = (((0, 31, 2), 6), ((0, 30, 0), 7))
# Batch when none is asked for: (tokens of context above which, batch, percent of free memory that the model's figure
# may take, percent that figure and surcharge together may take).
BATCHES = ((32768, 2048, 60, 80), (4096, 1024, 75, 80))
# (batch of at least so many tokens, bytes counted on top of the model's figure)
SURCHARGES = ((2048, 2 * GIB), (1024, 768 * MIB), (0, 0))
SMALLEST_BATCH = 512
EMBEDDING_BATCH = 2048
NO_FLASH_SMALL_GPU_BYTES = 8 * GIB
# Before, a projector is offloaded to GPUs with more than 10 GiB free, whatever its size.
PROJECTOR_MEASURED_SINCE = (0, 30, 11)
PROJECTOR_LEAST_BYTES = 10 * GIB
PROJECTOR_IN_MARGIN_SINCE = (0, 31, 2)  # from here the fit's margin counts the projector; before, it is not counted
PROJECTOR_ON_INTEGRATED_SINCE = (0, 31, 2)  # before, never on a GPU that shares the host's memory


def flash_attention(gpus: Sequence[Gpu], environment: Environment, version: Version) -> str:
    """What the engine is told: "on", "off" or "auto" (`LlamaServerFlashAttention`).

    What the user sets counts for every GPU.

    Args:
        gpus: the GPUs that the model goes to; compute_capability is a list of two integers.
        environment: variables of the service.
        version: Ollama version as a tuple.
    """
    if env.text(environment, "OLLAMA_FLASH_ATTENTION"):
        return "on" if env.boolean(environment, "OLLAMA_FLASH_ATTENTION") else "off"
    return "auto" if all(_supports_flash(gpu, version) for gpu in gpus) else "off"


def _supports_flash(gpu, version):
    if (gpu.get("library") or "CUDA").lower() != "cuda":
        return True
    capability = tuple(gpu.get("compute_capability") or (8, 0))
    least = next((major for since, major in FLASH_CAPABILITY if version >= since), 7)
    return capability[0] >= least and capability != (7, 2)


def surcharge(batch: int) -> int:
    """Bytes that Ollama counts on top of a model's figure for a batch of tokens (`generationBatchSurcharge`)."""
    return next(size for least, size in SURCHARGES if batch >= least)


def batch_size(predicted: int, context_total: int, gpus: Sequence[Gpu], flash: str) -> Tuple[int, int]:
    """(batch, surcharge in bytes) where the request names none (`automaticGenerationBatch`).

    Args:
        predicted: Ollama's figure for the model, bytes.
        context_total: tokens of all slots together.
        gpus: the chosen GPUs (free_bytes), or [] where the free memory is unknown: then nothing is lowered.
        flash: "on", "off" or "auto".
    """
    cuda = [gpu for gpu in gpus if (gpu.get("library") or "CUDA").lower() == "cuda"]
    if flash == "off" and cuda:
        small = context_total > 4096 and any(0 < _known_free(gpu) <= NO_FLASH_SMALL_GPU_BYTES for gpu in cuda)
        return (256 if small else SMALLEST_BATCH), 0
    free = sum(gpu["free_bytes"] for gpu in gpus)
    for above, batch, alone, together in BATCHES:
        if context_total <= above:
            continue
        if not free or (predicted * 100 <= free * alone and (predicted + surcharge(batch)) * 100 <= free * together):
            return batch, surcharge(batch)
    return SMALLEST_BATCH, 0


def _known_free(gpu):
    """Free memory of a GPU; its total where nothing is free, which Ollama takes for not known."""
    return gpu["free_bytes"] or gpu.get("total_bytes") or 0


def embedding_batch(asked: Optional[int], context: int, context_total: int) -> int:
    """Batch of an embedding model: what is asked for, else 2048, never more than the context (`embeddingBatchSize`).

    Args:
        asked: the batch that the request names, or None.
        context: tokens of one slot as asked for; 0 or less does not count.
        context_total: tokens of all slots together, as they are.
    """
    return min(asked or default_embedding_batch(context), context_total)


def default_embedding_batch(context: int) -> int:
    """Batch of a model that can embed where neither request nor model names one (`WithDefaultEmbeddingNumBatch`).

    Args:
        context: tokens of one slot as asked for; 0 or less does not count.
    """
    return min(EMBEDDING_BATCH, context) if context > 0 else EMBEDDING_BATCH


def projector_on_gpu(
    projector_bytes: int, members: Sequence[Gpu], version: Version, num_gpu: Optional[int], layer_count: int
) -> bool:
    """Whether the projector is offloaded (`shouldDisableMMProjOffload`).

    Args:
        projector_bytes: its weights.
        members: the chosen GPUs. Any that has too little free keeps the projector on the host.
        version: Ollama version as a tuple.
        num_gpu: layers asked for, or None.
        layer_count: block_count + 1; a forced partial offload keeps the projector on the host.
    """
    if num_gpu is not None and 0 <= num_gpu < layer_count:
        return False
    for gpu in members:
        if gpu.get("integrated") and version < PROJECTOR_ON_INTEGRATED_SINCE:
            return False
        free = _known_free(gpu)
        enough = free >= projector_bytes + GIB if version >= PROJECTOR_MEASURED_SINCE else free > PROJECTOR_LEAST_BYTES
        if free and not enough:
            return False
    return True


def fit_margins(
    model: ModelFacts, members: Sequence[Gpu], environment: Environment, version: Version, num_gpu: Optional[int] = None
) -> List[int]:
    """Bytes that llama.cpp's fit leaves free on each GPU: 1 GiB, more with a projector, or what the user sets.

    Args:
        model: the ModelFacts.
        members: the chosen GPUs.
        environment: variables of the service.
        version: Ollama version as a tuple.
        num_gpu: layers asked for, or None.
    """
    asked = env.text(environment, "LLAMA_ARG_FIT_TARGET")
    if asked:
        values = [int(value) * MIB for value in asked.split(",") if value.strip().isdigit()] or [llama_fit.MARGIN_BYTES]
        return [values[index] if index < len(values) else values[-1] for index in range(len(members))]
    projector = model.projector_bytes or 0
    if (
        projector
        and version >= PROJECTOR_IN_MARGIN_SINCE
        and projector_on_gpu(projector, members, version, num_gpu, model.block_count + 1)
    ):
        return [-(-(projector + GIB) // MIB) * MIB] * len(members)
    return [llama_fit.MARGIN_BYTES] * len(members)


def tensor_split(environment: Environment, count: int) -> Optional[List[float]]:
    """The user's LLAMA_ARG_TENSOR_SPLIT as a list of `count` numbers, or None."""
    asked = env.text(environment, "LLAMA_ARG_TENSOR_SPLIT")
    if not asked:
        return None
    values = shares(asked)
    return (values + [0.0] * count)[:count] if any(values) else None
