# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which settings an Ollama version reads, and what each of them does there.

Source: envconfig/config.go at every release tag from 0.1.40 to 0.32.15, and the files that each module of rules names.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

from ..common import service_variables
from ..common.service_variables import Version

# What does the same on all releases, or changes within the releases of one module of rules:
# variable -> ((first version, what it does), ...), newest first.
COMMON = {
    "CUDA_VISIBLE_DEVICES": (((0, 0, 0), "the service sees only these GPUs; this does not request a split"),),
    "OLLAMA_CONTEXT_LENGTH": (
        (
            (0, 15, 5),
            "context of models without num_ctx; if unset, it depends on the memory of all visible GPUs "
            "(4096, 32768 or 262144 tokens)",
        ),
        ((0, 6, 7), "context of models without num_ctx; if unset, 4096 tokens"),
        ((0, 0, 0), "context of models without num_ctx; if unset, 2048 tokens"),
    ),
    "OLLAMA_NUM_PARALLEL": (
        ((0, 10, 0), "slots of each model, each slot with its own KV cache; if unset, 1"),
        ((0, 6, 7), "slots of each model, each slot with its own KV cache; if unset, 2 if this fits, else 1"),
        ((0, 0, 0), "slots of each model, each slot with its own KV cache; if unset, 4 if this fits, else 1"),
    ),
    "OLLAMA_MAX_LOADED_MODELS": (
        ((0, 0, 0), "loaded models of the whole server, not of a GPU; if unset, 3 times the number of GPUs"),
    ),
    "OLLAMA_FLASH_ATTENTION": (
        (
            (0, 30, 0),
            "on or off for every model; if unset, llama.cpp decides, and it is off on GPUs that do not support it",
        ),
        (
            (0, 13, 4),
            "on or off for every model that supports it; if unset, on Ollama's own engine it is on for the "
            "architectures that this release lists, and llama.cpp decides itself",
        ),
        (
            (0, 12, 4),
            "on or off for every model that supports it; if unset, it is on for the architectures that this release "
            "lists",
        ),
        ((0, 11, 8), "on for every model that supports it; gpt-oss always uses it, also with 0"),
        ((0, 0, 0), "on for every model that supports it; off if unset"),
    ),
    "OLLAMA_VULKAN": (
        ((0, 30, 0), "on unless set to 0: Vulkan can use GPUs that CUDA_VISIBLE_DEVICES hides"),
        ((0, 12, 11), "1 uses Vulkan GPUs"),
    ),
    "OLLAMA_NEW_ENGINE": (
        ((0, 5, 12), "models that Ollama's own engine supports run on it, which changes how layers are distributed"),
    ),
    "LLAMA_ARG_FIT": (
        (
            (0, 30, 0),
            "off turns llama.cpp's own fitting off: layers are distributed by free memory, even if they do not fit",
        ),
    ),
}


def knows(version: Version, name: str) -> bool:
    """Return whether a version reads a variable.

    Args:
        version: Ollama version as a tuple of three integers.
        name: the variable; one that is neither Ollama's nor llama-server's counts as known.
    """
    return service_variables.find(name).known_to(version)


def acting(environment: Optional[Mapping[str, str]], version: Version) -> Dict[str, str]:
    """Return the variables of a service environment that a version reads."""
    return {name: value for name, value in (environment or {}).items() if knows(version, name)}


def effects(of_rules: Mapping[str, str], version: Version) -> Dict[str, str]:
    """Return what each setting that concerns placement does on a version: one sentence without a full stop.

    Args:
        of_rules: `EFFECTS` of the module of rules of the version.
        version: Ollama version as a tuple of three integers.
    """
    found = {name: next((text for since, text in changes if version >= since), "") for name, changes in COMMON.items()}
    found.update(of_rules)
    for name, text in found.items():
        if not knows(version, name) and not text.startswith("no effect"):
            found[name] = no_effect(name)
    return found


def no_effect(name: str) -> str:
    """Return why a variable does nothing on a version that does not know it."""
    return "no effect: Ollama reads it %s" % service_variables.span(service_variables.find(name))
