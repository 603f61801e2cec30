# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.6 to 0.24: which of the two engines runs a model, and which models and GPUs have flash attention.

Source: `OllamaEngineRequired`, `FlashAttention`, `SupportsFlashAttention`, `SupportsKVCacheType` of fs/ggml/ggml.go,
read at every release tag; `FlashAttentionSupported` of discover/types.go and ml/device.go.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

from .. import variable_values as env
from ..shapes import Gpu, Version
from .dimensions import Dimensions

# (first version, last version or None, architectures) that run on Ollama's own engine.
OLLAMA_ENGINE = (
    ((0, 6, 0), None, ("gemma3",)),
    ((0, 6, 5), None, ("mistral3",)),
    ((0, 6, 7), None, ("llama4",)),
    ((0, 7, 0), None, ("mllama", "qwen25vl")),
    ((0, 9, 3), None, ("gemma3n",)),
    ((0, 11, 0), None, ("gptoss",)),
    ((0, 11, 5), None, ("gpt-oss",)),
    ((0, 12, 0), (0, 12, 4), ("qwen3",)),
    ((0, 12, 2), None, ("qwen3moe",)),
    ((0, 12, 6), None, ("qwen3",)),
    ((0, 12, 7), None, ("qwen3vl", "qwen3vlmoe")),
    ((0, 13, 0), None, ("deepseek2", "deepseekocr")),
    ((0, 13, 1), None, ("nomic-bert",)),
    ((0, 13, 4), None, ("olmo3",)),
    ((0, 13, 5), None, ("bert",)),
    ((0, 14, 3), None, ("glm4moelite", "lfm2")),
    ((0, 15, 5), None, ("glmocr", "qwen3next")),
    ((0, 17, 1), None, ("lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe")),
    ((0, 20, 0), None, ("gemma4",)),
    ((0, 22, 0), None, ("laguna", "nemotron_h_omni")),
)
# What that engine also runs where OLLAMA_NEW_ENGINE asks for it: model/models, `model.Register`, at every release tag
# from 0.11.5 on.
OLLAMA_ENGINE_ASKED = (
    ((0, 11, 5), None, ("gemma2", "llama", "qwen2", "qwen3", "qwen3moe")),
    ((0, 12, 0), None, ("bert",)),
    ((0, 12, 3), None, ("deepseek2",)),
    ((0, 13, 3), None, ("nomic-bert-moe",)),
)
# Flash attention without being asked for.
FLASH_BY_DEFAULT = (
    ((0, 11, 8), None, ("gptoss", "gpt-oss")),
    ((0, 12, 4), None, ("qwen3", "qwen3moe")),
    ((0, 12, 6), None, ("gemma3",)),
    ((0, 12, 8), None, ("qwen3vl", "qwen3vlmoe")),
    ((0, 13, 2), None, ("mistral3",)),
    ((0, 13, 4), None, ("olmo3",)),
    ((0, 13, 5), None, ("bert",)),
    ((0, 14, 3), None, ("glm4moelite", "lfm2")),
    ((0, 15, 5), None, ("glmocr", "qwen3next")),
    ((0, 17, 1), None, ("lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe")),
    ((0, 20, 4), None, ("gemma4",)),
    ((0, 22, 0), None, ("nemotron_h_omni",)),
)
# Models that cannot have it whatever their head sizes, and models that can in spite of them.
FLASH_NEVER = (((0, 11, 2), (0, 11, 4), ("gptoss",)), ((0, 11, 11), None, ("gemma2",)), ((0, 19, 0), None, ("grok",)))
FLASH_ALWAYS = (((0, 17, 1), None, ("qwen35", "qwen35moe", "qwen3next")),)
FLASH_DEFAULT_SWITCHABLE = (0, 12, 4)  # from here OLLAMA_FLASH_ATTENTION=0 overrides the model's default
FLASH_OF_LISTED_GPUS = (0, 12, 4)  # from here only the GPUs being estimated must support it, before all discovered ones
SEPARATE_PROJECTOR_SINCE = (0, 11, 11)  # from here a model with a projector file of its own runs on llama.cpp
QUANTIZED_GPT_OSS = (0, 12, 4)  # before, gpt-oss took f16 only


def listed(table: Sequence[tuple[Any, ...]], architecture: Optional[str], version: Version) -> bool:
    """Whether a table of (first, last, architectures) names the architecture at this version."""
    return any(
        architecture in names and first <= version and (last is None or version <= last) for first, last, names in table
    )


def ollama_engine(
    dims: Dimensions,
    version: Version,
    separate_projector: bool = False,
    environment: Optional[Mapping[str, str]] = None,
) -> bool:
    """Whether Ollama's own engine runs the model. If not, llama.cpp inside Ollama's runner does.

    OLLAMA_NEW_ENGINE asks for it for every model that it supports; a model that it does not support runs on llama.cpp.
    """
    required = listed(OLLAMA_ENGINE, dims.architecture, version)
    if not required and env.boolean(environment or {}, "OLLAMA_NEW_ENGINE"):
        required = listed(OLLAMA_ENGINE_ASKED, dims.architecture, version) and not (
            dims.architecture == "llama" and dims.has_experts
        )
    return required and not (separate_projector and version >= SEPARATE_PROJECTOR_SINCE)


def flash_on_gpus(gpus: Sequence[Gpu], version: Version) -> bool:
    """Whether every GPU of a list has flash attention."""
    return all(_flash_on(gpu, version) for gpu in gpus)


def _flash_on(gpu: Gpu, version: Version) -> bool:
    library = (gpu.get("library") or "CUDA").lower()
    if library == "cuda":
        capability = tuple(gpu.get("compute_capability") or (8, 0))
        return gpu.get("driver_major", 12) >= 7 and not (version >= (0, 12, 4) and capability == (7, 2))
    if library == "vulkan":
        return version >= (0, 12, 10) or version == (0, 12, 6)
    return library in ("rocm", "metal") or (library == "cpu" and version >= (0, 11, 5))


def flash_for_model(dims: Dimensions, version: Version) -> bool:
    """Whether the model can have flash attention (`SupportsFlashAttention`)."""
    if dims.is_embedding or listed(FLASH_NEVER, dims.architecture, version):
        return False
    if listed(FLASH_ALWAYS, dims.architecture, version):
        return True
    return bool(dims.key) and dims.key == dims.value


def flash_wanted(dims: Dimensions, version: Version, environment: Mapping[str, str]) -> tuple[bool, bool]:
    """(whether flash attention is wanted, whether the user set it)."""
    by_default = listed(FLASH_BY_DEFAULT, dims.architecture, version)
    user = bool(env.text(environment, "OLLAMA_FLASH_ATTENTION"))
    if version < FLASH_DEFAULT_SWITCHABLE:
        return by_default or env.boolean(environment, "OLLAMA_FLASH_ATTENTION"), user
    return env.boolean(environment, "OLLAMA_FLASH_ATTENTION", by_default), user


def cache_type(dims: Dimensions, version: Version, environment: Mapping[str, str]) -> str:
    """The KV cache type asked for where this version supports it for the model, else ""."""
    asked = env.text(environment, "OLLAMA_KV_CACHE_TYPE").lower()
    known: tuple[str, ...] = ("f16", "q8_0", "q4_0")
    if dims.architecture in ("gptoss", "gpt-oss") and (0, 11, 5) <= version < QUANTIZED_GPT_OSS:
        known = ("f16",)
    return asked if asked in known else ""
