# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the engine of a release cannot do: too many GPUs, unknown architectures, KV caches without a CUDA kernel.

Sources:
* Builds of llama.cpp: LLAMA_CPP_VERSION at each release tag of Ollama from 0.30.0 to 0.33.0-rc2.
* Architectures: LLM_ARCH_NAMES of llama.cpp (src/llama-arch.cpp), read in the libraries of builds 9842, 10068 and
  10361, and in the sources of 2026-06-08 and 2026-08-04. Where that leaves open which of two releases
  is the first, it is the earlier one. Ollama's own names: `translate_metadata` in llama/compat/llama-ollama-compat.cpp.
* GPUs: GGML_SCHED_MAX_BACKENDS (ggml/src/ggml-backend.cpp) and GGML_CUDA_MAX_DEVICES (`ggml_cuda_init`).
* KV caches: `ggml_cuda_get_best_fattn_kernel` (ggml/src/ggml-cuda/fattn.cu). Ollama builds without
  GGML_CUDA_FA_ALL_QUANTS (llama/server/CMakePresets.json).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence

from ..common.service_variables import Version, version_text
from ..memory import kv_cache
from ..model.schema import ModelFacts
from . import libraries
from .shapes import Decision

# The CPU is the sixteenth back-end of a process.
MOST_GPUS = 15
# CUDA devices that the server can look at; with more, the program that lists them ends.
MOST_CUDA_DEVICES = 16

# (first release, build of llama.cpp that it is made from), newest first.
BUILDS: tuple[tuple[Version, str], ...] = (
    ((0, 32, 15), "b10488"),
    ((0, 32, 14), "b10434"),
    ((0, 32, 10), "b10380"),
    ((0, 32, 8), "b10353"),
    ((0, 32, 6), "b10242"),
    ((0, 32, 3), "b10091"),
    ((0, 32, 2), "b10069"),
    ((0, 31, 2), "b9888"),
    ((0, 31, 0), "b9840"),
    ((0, 30, 11), "b9781"),
    ((0, 30, 10), "b9672"),
    ((0, 30, 9), "b9626"),
    ((0, 30, 5), "b9509"),
    ((0, 30, 4), "b9493"),
    ((0, 30, 1), "b9479"),
    ((0, 30, 0), "b9452"),
)
# Later releases may know more architectures.
NEWEST_READ = (0, 33, 0)
# (first release, architectures that it adds).
ARCHITECTURES: tuple[tuple[Version, frozenset[str]], ...] = (
    (
        (0, 30, 0),
        frozenset(
            (
                "afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bert bitnet bloom chameleon chatglm "
                "codeshell cogvlm cohere2 command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 dots1 dream "
                "ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma-embedding "
                "gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa glm4 glm4moe gpt-oss gpt2 gptj gptneox granite "
                "granitehybrid granitemoe grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl internlm2 jais jais2 "
                "jamba jina-bert-v2 jina-bert-v3 kimi-linear lfm2 lfm2moe llada llada-moe llama llama-embed llama4 "
                "maincoder mamba mamba2 mellum mimo2 minicpm minicpm3 minimax-m2 mistral3 mistral4 modern-bert mpt "
                "nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion "
                "paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 plm qwen qwen2 qwen2moe qwen2vl qwen3 "
                "qwen35 qwen35moe qwen3moe qwen3next qwen3vl qwen3vlmoe refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss "
                "smallthinker smollm3 stablelm starcoder starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse"
            ).split()
        )
        # Ollama's names, which it translates when a model loads.
        | frozenset("deepseekocr glm4moelite glmocr gptoss nemotron_h_omni olmo3 qwen25vl".split()),
    ),
    ((0, 30, 1), frozenset(("laguna",))),
    ((0, 30, 9), frozenset(("cohere2moe", "deepseek4", "dflash", "eagle3"))),
    ((0, 31, 2), frozenset(("hy_v3",))),
    ((0, 32, 3), frozenset(("minimax-m3", "nanbeige"))),
    ((0, 32, 8), frozenset(("graniteswitch", "muse-glimmer", "qwen3tts"))),
    ((0, 32, 10), frozenset(("pockettts",))),
)
# Architectures that Ollama's own engine and its copy of llama.cpp had, and that llama-server does not have: the last
# release with each (model/models and llama/llama.cpp/src/llama-arch.cpp at v0.24.0).
LAST_WITH = {"mllama": (0, 24, 0), "solar": (0, 24, 0)}

# KV cache types with a flash attention kernel for CUDA, as far as a plan may ask for them.
CUDA_CACHE_TYPES = ("bf16", "f16", "f32", "q4_0", "q8_0")
# Those that Ollama before 0.30 knows; it takes f16 for any other (`SupportsKVCacheType` in fs/ggml/ggml.go).
OLD_CACHE_TYPES = ("f16", "q4_0", "q8_0")
# The types that Ollama's documentation names (docs/faq.mdx).
ADVISED_CACHE_TYPES = "f16, q8_0, q4_0"
# Sizes of a head with a flash attention kernel: of keys and values alike, and (keys, values).
_HEADS_ALIKE = (40, 64, 72, 80, 96, 112, 128, 256, 512)
_HEADS = ((192, 128), (320, 256), (576, 512))


def build(version: Version) -> str:
    """The build of llama.cpp of a release from 0.30 on; of later ones than were read, the newest that is known."""
    return next((name for since, name in BUILDS if version >= since), BUILDS[-1][1])


def architectures(version: Version) -> frozenset[str]:
    """The architectures that the engine of a release from 0.30 on has."""
    return frozenset().union(*(names for since, names in ARCHITECTURES if version >= since))


def refused_architecture(version: Version, architecture: Optional[str]) -> Optional[str]:
    """Why a release from 0.30 on cannot load models of an architecture, or None.

    Args:
        version: the Ollama version.
        architecture: `general.architecture` of the model's header, or None where it is not known.
    """
    if not architecture or architecture in architectures(version):
        return None
    last = LAST_WITH.get(architecture)
    if last is None and version > NEWEST_READ:
        return None
    first = next((since for since, names in ARCHITECTURES if architecture in names), None)
    if last:
        advice = "Ollama %s is the last release with it; use that, or another model" % version_text(last)
    elif first:
        advice = "use Ollama %s or later, or another model" % version_text(first)
    else:
        advice = "use another model, or a later release that has it"
    return "the engine of Ollama %s (llama.cpp %s) has no architecture '%s' and does not load it; %s" % (
        version_text(version),
        build(version),
        architecture,
        advice,
    )


def doubted_architecture(version: Version, architecture: Optional[str]) -> Optional[str]:
    """What is not known of an architecture on a release that is newer than those that were read, or None."""
    if not architecture or version <= NEWEST_READ or architecture in architectures(version):
        return None
    return "whether the engine of Ollama %s has the architecture '%s' is not known here; that of %s does not" % (
        version_text(version),
        architecture,
        version_text(NEWEST_READ),
    )


def refused_cache(version: Version, model: ModelFacts, cache_type: str) -> Optional[str]:
    """Why a KV cache of a type cannot be used on NVIDIA GPUs by a release from 0.30 on, or None.

    Without a kernel attention runs on the CPU, or the load ends with "quantized V cache was requested, but this
    requires Flash Attention".

    Args:
        version: the Ollama version.
        model: the model's facts.
        cache_type: "f16", "q8_0" and so on, for keys and values alike.
    """
    if cache_type not in CUDA_CACHE_TYPES:
        return (
            "kv_cache_type %s has no flash attention kernel in the CUDA libraries of Ollama %s: attention would run on "
            "the CPU, 8 to 30 times slower, or the load ends; use one of %s"
            % (cache_type, version_text(version), ADVISED_CACHE_TYPES)
        )
    heads = (model.key_length or 0, model.value_length or 0)
    if kv_cache.CACHE_TYPES[cache_type][0] == 1 or model.kv_lora_rank or not all(heads):
        return None
    if (heads[0] == heads[1] and heads[0] in _HEADS_ALIKE) or heads in _HEADS:
        return None
    return (
        "kv_cache_type %s needs flash attention, and the CUDA libraries of Ollama %s have no kernel for heads of %d "
        "and %d: the load ends; use f16" % (cache_type, version_text(version), *heads)
    )


def refused_old_cache(version: Version, cache_type: str) -> Optional[str]:
    """Why a release before 0.30 does not use a KV cache type, or None."""
    if cache_type in OLD_CACHE_TYPES:
        return None
    return "kv_cache_type %s is unknown to Ollama %s, which takes f16 instead; use one of %s" % (
        cache_type,
        version_text(version),
        ADVISED_CACHE_TYPES,
    )


def refused_set(version: Version, gpus: Sequence[Mapping[str, Any]]) -> Optional[str]:
    """Why one process cannot use these GPUs together, or None; a sentence without a full stop.

    Args:
        version: the Ollama version.
        gpus: as `Gpu.for_release` gives them; `libraries` are the names of the CUDA libraries that work with each.
    """
    if len(gpus) > MOST_GPUS:
        return "A process of Ollama %s can use at most %d GPUs, and these are %d" % (
            version_text(version),
            MOST_GPUS,
            len(gpus),
        )
    known = [tuple(gpu.get("libraries") or ()) for gpu in gpus]
    if not known or not all(known) or len(set(libraries.taken(known))) == 1:
        return None
    common = sorted(set(known[0]).intersection(*known[1:]), reverse=True)
    advice = "; OLLAMA_LLM_LIBRARY: %s makes it one for all" % common[0] if common else ""
    return (
        "Ollama %s would take different CUDA libraries for these GPUs (%s), and a process has one only, so no model is "
        "split over GPUs of both%s" % (version_text(version), " and ".join(sorted(set(libraries.taken(known)))), advice)
    )


def of_host(version: Version, count: int) -> Optional[str]:
    """What a release left alone does on a host with so many GPUs that one process cannot use them all, or None."""
    if count <= MOST_GPUS:
        return None
    if count > MOST_CUDA_DEVICES:
        alone = "the program that lists the GPUs ends above %d, and every model runs on the CPU" % MOST_CUDA_DEVICES
    else:
        alone = "a model that does not fit one GPU goes to all of them, and its load ends"
    return "This host has %d GPUs, and a process of Ollama %s can use at most %d together: left alone, %s." % (
        count,
        version_text(version),
        MOST_GPUS,
        alone,
    )


def within(decision: Decision, gpus: Sequence[Mapping[str, Any]], visible: Sequence[int]) -> Decision:
    """A decision with what becomes of it on a host with too many GPUs, or with GPUs of different CUDA libraries.

    The server asks each library for its GPUs in the order of a map of Go, which is another one at each start
    (discover/runner.go `GPUDevices`), and gives the engine the library of the first GPU of a model only
    (ml/device.go `LibraryPaths`, llm/llama_server.go `llamaServerLibraryPaths`).

    Args:
        decision: what the release decides.
        gpus: the GPUs of the request, as `Gpu.for_release` gives them.
        visible: the places there of those that the service sees.
    """
    if len(visible) > MOST_CUDA_DEVICES:
        return dataclasses.replace(decision, outcome="cpu", gpus=[], tokens=[], layers=[])
    count = len(decision.gpus)
    if count < 2 or decision.outcome == "cpu":
        return decision
    error = None
    if count > MOST_GPUS:
        error = "the model goes to %d GPUs, and one process can use at most %d" % (count, MOST_GPUS)
    known = {place: tuple(gpus[place].get("libraries") or ()) for place in visible}
    if error is None and all(known.values()):
        taken = dict(zip(known, libraries.taken(list(known.values()))))
        several = sorted({taken[place] for place in decision.gpus})
        if len(several) > 1:
            error = (
                "the model goes to GPUs of different CUDA libraries (%s), and the engine gets only the one of the GPU "
                "that the server happens to list first" % " and ".join(several)
            )
    return dataclasses.replace(decision, outcome=None, layers=[0] * count, error=error) if error else decision
