# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPUs, context and batch that Ollama 0.32.15 chooses for a model. Pure: no input or output.

Source: server/sched.go of that release. Tested against every row of ollama-0.32.15-placement.jsonl and
-residents.jsonl. Memory is in bytes, contexts are in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

GIB = 1 << 30
MIB = 1 << 20

# Architectures that are always served with one slot (server/sched.go:499-510).
ONE_SLOT = (
    "mllama",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
)


@dataclass(frozen=True)
class Gpu:
    """A GPU as the server sees it.

    `index` is its position after filtering, `filter_id` the value that makes it visible to the child.
    """

    index: int
    filter_id: str
    total: int
    free: int
    library: str = "CUDA"
    compute: Tuple[int, int] = (8, 6)


@dataclass(frozen=True)
class Model:
    """What the choice needs to know about a model: bytes of its GGUF file and five header values."""

    file_bytes: int
    architecture: str
    block_count: int
    embedding_length: int
    head_count_max: int
    head_count_kv_min: int
    context_length: int
    embedding: bool = False


@dataclass(frozen=True)
class Settings:
    """The variables of the service that affect a load. `default_context` is OLLAMA_CONTEXT_LENGTH or depends on the
    VRAM.
    """

    default_context: int
    parallel: int = 1
    spread: bool = False
    flash_attention: Optional[bool] = None
    kv_cache_type: str = ""


@dataclass(frozen=True)
class Choice:
    """The result of one choice. `main_gpu` is `--main-gpu` of the child (None: not passed)."""

    gpus: Tuple[Gpu, ...]
    main_gpu: Optional[int]
    context: int
    parallel: int
    batch: int
    predicted: int
    flash_attention: str
    pins_devices: bool

    @property
    def filter_ids(self) -> str:
        """CUDA_VISIBLE_DEVICES of the child, if it is set (`pins_devices`)."""
        return ",".join(gpu.filter_id for gpu in self.gpus)


@dataclass(frozen=True)
class Resident:
    """A running engine as the server knows it: the indices of its GPUs, and its reported bytes by device index."""

    gpus: Tuple[int, ...]
    used: Dict[int, int] = field(default_factory=dict)
    free_at_load: Dict[int, int] = field(default_factory=dict)


def default_context(totals: List[int], overhead: int) -> int:
    """Default num_ctx, by the total memory of all GPUs less OLLAMA_GPU_OVERHEAD for each (server/routes.go:2040-2058).

    Uses unsigned 64-bit arithmetic as Ollama does: an overhead above the total wraps round to the highest tier
    (recorded as gpu-overhead-huge).
    """
    vram = sum(total - overhead for total in totals) % (1 << 64)
    if vram >= 47 * GIB:
        return 262144
    return 32768 if vram >= 23 * GIB else 4096


def slots(model: Model, settings: Settings) -> int:
    """Parallel slots of a model (server/sched.go:499-510)."""
    if model.embedding or model.architecture in ONE_SLOT:
        return 1
    return max(settings.parallel, 1)


def effective_context(model: Model, settings: Settings, options: Dict[str, int]) -> int:
    """num_ctx of one slot: requested or default, at least 4, at most the trained context length."""
    asked = max(options.get("num_ctx", settings.default_context), 4)
    return min(asked, model.context_length) if model.context_length > 0 else asked


def predict(model: Model, context: int) -> int:
    """The prediction of Ollama: the file and an f16 KV cache for `context` tokens over all slots
    (llm/llama_server.go:2681).
    """
    if not (model.block_count and model.head_count_max):
        return model.file_bytes
    head = model.embedding_length // model.head_count_max
    return model.file_bytes + 2 * model.block_count * model.head_count_kv_min * head * context * 2


def flash_attention(settings: Settings, gpus: List[Gpu]) -> str:
    """The value of --flash-attn (llama_server.go:597-622).

    It is the user's setting, or off if a GPU does not support it, or auto.
    """
    if settings.flash_attention is not None:
        return "on" if settings.flash_attention else "off"
    lacking = [gpu for gpu in gpus if gpu.library == "CUDA" and (gpu.compute[0] < 6 or gpu.compute == (7, 2))]
    return "off" if lacking else "auto"


def select(
    gpus: List[Gpu], predicted: int, settings: Settings, options: Dict[str, int]
) -> Tuple[List[Gpu], Optional[int]]:
    """The GPUs for a model of `predicted` bytes, and --main-gpu of the child (server/sched.go:972-1140)."""
    num_gpu, main_gpu = options.get("num_gpu", -1), options.get("main_gpu")
    if len(gpus) <= 1 or num_gpu == 0:
        return list(gpus), main_gpu
    groups: Dict[str, List[Gpu]] = {}
    for gpu in gpus:
        groups.setdefault(gpu.library, []).append(gpu)
    if main_gpu is not None:
        named = [group[main_gpu] for group in groups.values() if 0 <= main_gpu < len(group)]
        if named:
            return [max(named, key=lambda gpu: gpu.free)], 0
    elif not settings.spread and predicted > 0:
        holding = [gpu for gpu in gpus if predicted <= gpu.free * 80 // 100]
        if holding:
            return [max(holding, key=lambda gpu: gpu.free)], 0
    return max(groups.values(), key=lambda group: sum(gpu.free for gpu in group)), main_gpu


def batch_size(context: int, predicted: int, chosen: List[Gpu], options: Dict[str, int], flash: str) -> int:
    """-b and -ub (sched.go:797-915).

    They depend on the context, are lowered if the chosen GPUs have little memory, and are small without flash
    attention.
    """
    if options.get("num_batch"):
        return options["num_batch"]
    num_gpu = options.get("num_gpu", -1)
    cuda = num_gpu != 0 and any(gpu.library == "CUDA" for gpu in chosen)
    if flash == "off" and cuda:
        return 256 if context > 4096 and any(gpu.free <= 8 * GIB for gpu in chosen) else 512
    batch = 2048 if context > 32768 else 1024 if context > 4096 else 512
    free = sum(gpu.free for gpu in chosen)
    if num_gpu == 0 or not free:
        return batch
    if batch == 2048 and not (predicted <= free * 60 // 100 and predicted + 2 * GIB <= free * 80 // 100):
        batch = 1024
    if batch == 1024 and not (predicted <= free * 75 // 100 and predicted + 768 * MIB <= free * 80 // 100):
        batch = 512
    return batch


def choose(model: Model, gpus: List[Gpu], settings: Settings, options: Dict[str, int]) -> Choice:
    """The result of loading `model` on these GPUs (with `free` from `accounted_free`)."""
    parallel = slots(model, settings)
    context = effective_context(model, settings, options) * parallel
    predicted = predict(model, context)
    chosen, main_gpu = select(gpus, predicted, settings, options)
    flash = flash_attention(settings, chosen)
    cpu_only = options.get("num_gpu", -1) == 0
    return Choice(
        gpus=tuple(chosen),
        main_gpu=main_gpu,
        context=context,
        parallel=parallel,
        predicted=predicted,
        flash_attention=flash,
        batch=batch_size(context, predicted, chosen, options, flash),
        pins_devices=bool(chosen) and not cpu_only,
    )


def accounted_free(gpus: List[Gpu], residents: List[Resident]) -> List[Gpu]:
    """The GPUs with `free` as 0.30 to 0.32.15 compute it beside running engines, including the fault of 14.21.

    The memory of an engine on one GPU is looked up as CUDA0 for any index, so it is not found for an index above 0.
    """
    covered = {index for resident in residents for index in resident.gpus}
    all_covered = bool(gpus) and all(gpu.index in covered for gpu in gpus)
    seen = []
    for gpu in gpus:
        free, found = gpu.free, 0
        for resident in residents:
            if gpu.index not in resident.gpus:
                continue
            hidden = len(resident.gpus) == 1 and gpu.index > 0
            used = 0 if hidden else resident.used.get(gpu.index, 0)
            found += used
            if all_covered:
                free = (
                    gpu.total
                    if hidden
                    else min(gpu.total - used, resident.free_at_load.get(gpu.index, gpu.total) - used)
                )
        seen.append(Gpu(**{**gpu.__dict__, "free": max(min(free, gpu.total - found), 0)}))
    return seen


def surcharge(batch: int) -> int:
    """Bytes that a batch size adds to the prediction for the check against running engines (sched.go:797)."""
    if batch >= 2048:
        return 2 * GIB
    return 768 * MIB if batch >= 1024 else 0


def must_evict(choice: Choice, model: Model, options: Dict[str, int]) -> bool:
    """Whether a model may not be loaded beside running engines: it needs
    more than 80 % of the free memory of the GPUs.
    """
    num_gpu = options.get("num_gpu", -1)
    if 0 < num_gpu < model.block_count + 1:
        return False
    free = sum(gpu.free for gpu in choice.gpus)
    return choice.predicted + surcharge(choice.batch) > free * 80 // 100
