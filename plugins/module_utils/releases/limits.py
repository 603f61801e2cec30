# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the engine of a release cannot do: too many GPUs, unknown architectures, KV caches without a CUDA kernel.

The facts and their sources are in engine_table.py; here is what follows from them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence

from ..common.service_variables import Version, version_text
from ..memory import kv_cache
from ..model.schema import ModelFacts
from . import engine_table, libraries
from .engine_table import NEWEST_READ
from .shapes import Decision

# KV cache types that Ollama before 0.30 knows; it takes f16 for any other (`SupportsKVCacheType` in fs/ggml/ggml.go).
OLD_CACHE_TYPES = ("f16", "q4_0", "q8_0")
# The types that Ollama's documentation names (docs/faq.mdx).
ADVISED_CACHE_TYPES = "f16, q8_0, q4_0"


def build(version: Version) -> str:
    """The build of llama.cpp of a release from 0.30 on; of later ones than were read, the newest that is known."""
    return engine_table.of(version).build


def architectures(version: Version) -> frozenset[str]:
    """The architectures that the engine of a release from 0.30 on has."""
    return frozenset().union(*(row.new_architectures for row in engine_table.TABLE if version >= row.first))


def refused_architecture(version: Version, architecture: Optional[str]) -> Optional[str]:
    """Why a release from 0.30 on cannot load models of an architecture, or None.

    Args:
        version: the Ollama version.
        architecture: `general.architecture` of the model's header, or None where it is not known.
    """
    if not architecture or architecture in architectures(version):
        return None
    last = engine_table.LAST_WITH.get(architecture)
    if last is None and version > NEWEST_READ:
        return None
    first = next((row.first for row in engine_table.TABLE if architecture in row.new_architectures), None)
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
    if not kv_cache.has_rows(model):
        return None  # the type has no effect, and llama-server loads such a model with any
    row = engine_table.of(version)
    if cache_type not in row.cache_types:
        return (
            "kv_cache_type %s has no flash attention kernel in the CUDA libraries of Ollama %s: attention would run on "
            "the CPU, 8 to 30 times slower, or the load ends; use one of %s"
            % (cache_type, version_text(version), ADVISED_CACHE_TYPES)
        )
    heads = (model.key_length or 0, model.value_length or 0)
    if kv_cache.CACHE_TYPES[cache_type][0] == 1 or model.kv_lora_rank or not all(heads):
        return None
    if heads in row.heads:
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
    most = engine_table.of(version).most_gpus
    if len(gpus) > most:
        return "A process of Ollama %s can use at most %d GPUs, and these are %d" % (
            version_text(version),
            most,
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
    row = engine_table.of(version)
    if count <= row.most_gpus:
        return None
    if count > row.most_cuda_devices:
        alone = "the program that lists the GPUs ends above %d, and every model runs on the CPU" % row.most_cuda_devices
    else:
        alone = "a model that does not fit one GPU goes to all of them, and its load ends"
    return "This host has %d GPUs, and a process of Ollama %s can use at most %d together: left alone, %s." % (
        count,
        version_text(version),
        row.most_gpus,
        alone,
    )


def within(version: Version, decision: Decision, gpus: Sequence[Mapping[str, Any]], visible: Sequence[int]) -> Decision:
    """A decision with what becomes of it on a host with too many GPUs, or with GPUs of different CUDA libraries.

    The server asks each library for its GPUs in the order of a map of Go, which is another one at each start
    (discover/runner.go `GPUDevices`), and gives the engine the library of the first GPU of a model only
    (ml/device.go `LibraryPaths`, llm/llama_server.go `llamaServerLibraryPaths`).

    Args:
        version: the Ollama version.
        decision: what the release decides.
        gpus: the GPUs of the request, as `Gpu.for_release` gives them.
        visible: the places there of those that the service sees.
    """
    row = engine_table.of(version)
    if len(visible) > row.most_cuda_devices:
        return dataclasses.replace(decision, outcome="cpu", gpus=[], tokens=[], layers=[])
    count = len(decision.gpus)
    if count < 2 or decision.outcome == "cpu":
        return decision
    error = None
    if count > row.most_gpus:
        error = "the model goes to %d GPUs, and one process can use at most %d" % (count, row.most_gpus)
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
