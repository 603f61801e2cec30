# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What Ollama's releases from 0.30 on are built of: one table, with one row for each build of the engine. Pure.

A row has the build of llama.cpp, the model architectures that it adds, the CUDA libraries with their compute
capabilities and drivers, and the limits of the engine. `limits.py` and `libraries.py` say what follows from them.

A release's archive holds the engine's GPU code in directories below lib/ollama, one for each CUDA version.

Sources, read at every release tag from 0.30.0 to 0.33.0-rc2:
* Builds: LLAMA_CPP_VERSION.
* Architectures: LLM_ARCH_NAMES of llama.cpp (src/llama-arch.cpp), read in the libraries of builds 9842, 10068 and
  10361, and in the sources of 2026-06-08 and 2026-08-04. Where that leaves open which of two releases
  is the first, it is the earlier one. Ollama's own names: `translate_metadata` in llama/compat/llama-ollama-compat.cpp.
* Libraries: llama/server/CMakePresets.json (architectures), Dockerfile (CUDA 12.8 and 13.0, which archive has which),
  scripts/build_linux.sh (JetPack has archives of its own), discover/cuda_compat.go (drivers of cuda_v12). The driver of
  CUDA 13 and the first one of CUDA 12 are those of NVIDIA's CUDA compatibility tables.
* GPUs: GGML_SCHED_MAX_BACKENDS (ggml/src/ggml-backend.cpp) and GGML_CUDA_MAX_DEVICES (`ggml_cuda_init`).
* KV caches: `ggml_cuda_get_best_fattn_kernel` (ggml/src/ggml-cuda/fattn.cu). Ollama builds without
  GGML_CUDA_FA_ALL_QUANTS (llama/server/CMakePresets.json).
"""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple

from ..common.service_variables import Version

Capability = Tuple[int, ...]  # compute capability, for example (8, 6)

X86, ARM = "x86_64", "aarch64"
# The newest release that was read. A later one may have more of everything.
NEWEST_READ = (0, 33, 0)
# Below, cuda_v12 asks for the driver that compiles PTX of CUDA 12.8, also where it has machine code.
_LEGACY_BELOW = (7, 0)
_JETPACK_DRIVER = 0  # comes with JetPack, so the server asks for none


@dataclasses.dataclass(frozen=True)
class Library:
    """A library of a release.

    Attributes:
        name: its directory, as OLLAMA_LLM_LIBRARY gives it.
        machines: machine architectures (uname -m) whose archives have it.
        machine_code: compute capabilities that it has machine code for.
        ptx: those that it has PTX for, which the driver compiles.
        driver: least major version of the NVIDIA driver.
        legacy_driver: the same for compute capabilities below 7.0.
        archive: the archive that has it, where that is not the release's main one.
    """

    name: str
    machines: tuple[str, ...]
    machine_code: tuple[Capability, ...]
    ptx: tuple[Capability, ...]
    driver: int
    legacy_driver: int
    archive: str = ""

    def built_for(self, capability: Capability) -> bool:
        """Whether its list of architectures has this compute capability."""
        return capability in self.machine_code or capability in self.ptx

    def driver_for(self, capability: Optional[Capability]) -> int:
        """Least major version of the driver for a GPU."""
        return self.legacy_driver if capability and capability < _LEGACY_BELOW else self.driver

    def takes(self, capability: Optional[Capability], driver: Optional[int]) -> bool:
        """Whether the server uses a GPU with it; what is not known counts as good."""
        if capability is not None and not self.built_for(capability):
            return False
        return driver is None or driver >= self.driver_for(capability)


def _cuda_v12(machine_code: tuple[Capability, ...], ptx: tuple[Capability, ...], driver: int) -> Library:
    return Library("cuda_v12", (X86, ARM), machine_code, ptx, driver, 570)


def _cuda_v13(ptx: tuple[Capability, ...]) -> Library:
    return Library("cuda_v13", (X86, ARM), (), ptx, 580, 580)


def _jetpack(number: int, machine_code: tuple[Capability, ...]) -> Library:
    archive = "ollama-linux-arm64-jetpack%d.tar.zst" % number
    return Library("cuda_jetpack%d" % number, (ARM,), machine_code, (), _JETPACK_DRIVER, _JETPACK_DRIVER, archive)


@dataclasses.dataclass(frozen=True)
class EngineRelease:
    """A release with a build of the engine that the one before does not have, or with other libraries.

    Attributes:
        first: the first Ollama release with it.
        build: of llama.cpp.
        libraries: the CUDA libraries, in the order in which the server prefers them.
        new_architectures: those that the release before does not have.
        most_gpus: GPUs that one process can use; the CPU is the sixteenth back-end.
        most_cuda_devices: devices that the server can look at; with more, the program that lists them ends.
        cache_types: KV cache types with a flash attention kernel for CUDA, as far as a plan may ask for them.
        heads: sizes of a head (keys, values) with such a kernel for a cache that is quantized.
    """

    first: Version
    build: str
    libraries: tuple[Library, ...]
    new_architectures: frozenset[str] = frozenset()
    most_gpus: int = 15
    most_cuda_devices: int = 16
    cache_types: tuple[str, ...] = ("bf16", "f16", "f32", "q4_0", "q8_0")
    heads: tuple[tuple[int, int], ...] = tuple((size, size) for size in (40, 64, 72, 80, 96, 112, 128, 256, 512)) + (
        (192, 128),
        (320, 256),
        (576, 512),
    )


# 90a is of capability 9.0.
_SINCE_VOLTA = ((7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0))
_PASCAL, _MAXWELL = ((6, 0), (6, 1)), ((5, 0), (5, 2))
_B200, _ORIN = ((10, 0),), ((8, 7),)
_CUDA_13 = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (11, 0), (12, 0), (12, 1))
_JETPACKS = (_jetpack(6, _ORIN), _jetpack(5, ((7, 2), (8, 7))))

_LIBRARIES_0_30_0 = (_cuda_v13(_CUDA_13), _cuda_v12(_SINCE_VOLTA, _MAXWELL + _PASCAL, 525), *_JETPACKS)
_LIBRARIES_0_30_11 = (_cuda_v13(_CUDA_13 + _ORIN), _cuda_v12(_SINCE_VOLTA, _MAXWELL + _PASCAL, 550), *_JETPACKS)
_LIBRARIES_0_31_2 = (_cuda_v13(_CUDA_13 + _ORIN), _cuda_v12(_PASCAL + _SINCE_VOLTA, _MAXWELL, 550), *_JETPACKS)
_LIBRARIES_0_32_2 = (_cuda_v13(_CUDA_13 + _ORIN), _cuda_v12(_PASCAL + _SINCE_VOLTA + _B200, _MAXWELL, 550), *_JETPACKS)


def _architectures(names: str) -> frozenset[str]:
    return frozenset(names.split())


_ARCHITECTURES_0_30_0 = _architectures(
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
    "smallthinker smollm3 stablelm starcoder starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse "
    # Ollama's own names, which it translates when a model loads.
    "deepseekocr glm4moelite glmocr gptoss nemotron_h_omni olmo3 qwen25vl"
)

# Newest first.
TABLE: tuple[EngineRelease, ...] = (
    EngineRelease((0, 32, 15), "b10488", _LIBRARIES_0_32_2),
    EngineRelease((0, 32, 14), "b10434", _LIBRARIES_0_32_2),
    EngineRelease((0, 32, 10), "b10380", _LIBRARIES_0_32_2, _architectures("pockettts")),
    EngineRelease((0, 32, 8), "b10353", _LIBRARIES_0_32_2, _architectures("graniteswitch muse-glimmer qwen3tts")),
    EngineRelease((0, 32, 6), "b10242", _LIBRARIES_0_32_2),
    EngineRelease((0, 32, 3), "b10091", _LIBRARIES_0_32_2, _architectures("minimax-m3 nanbeige")),
    EngineRelease((0, 32, 2), "b10069", _LIBRARIES_0_32_2),
    EngineRelease((0, 31, 2), "b9888", _LIBRARIES_0_31_2, _architectures("hy_v3")),
    EngineRelease((0, 31, 0), "b9840", _LIBRARIES_0_30_11),
    EngineRelease((0, 30, 11), "b9781", _LIBRARIES_0_30_11),
    EngineRelease((0, 30, 10), "b9672", _LIBRARIES_0_30_0),
    EngineRelease((0, 30, 9), "b9626", _LIBRARIES_0_30_0, _architectures("cohere2moe deepseek4 dflash eagle3")),
    EngineRelease((0, 30, 5), "b9509", _LIBRARIES_0_30_0),
    EngineRelease((0, 30, 4), "b9493", _LIBRARIES_0_30_0),
    EngineRelease((0, 30, 1), "b9479", _LIBRARIES_0_30_0, _architectures("laguna")),
    EngineRelease((0, 30, 0), "b9452", _LIBRARIES_0_30_0, _ARCHITECTURES_0_30_0),
)
# Architectures that Ollama's own engine and its copy of llama.cpp had, and that llama-server does not have: the last
# release with each (model/models and llama/llama.cpp/src/llama-arch.cpp at v0.24.0).
LAST_WITH = {"mllama": (0, 24, 0), "solar": (0, 24, 0)}


def of(version: Version) -> EngineRelease:
    """The row of a release from 0.30 on; of later ones than were read, the newest that is known."""
    return next((row for row in TABLE if version >= row.first), TABLE[-1])
