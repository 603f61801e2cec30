# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.12.11 to 0.24: one layout for both engines, on the fewest GPUs, in proportion to their free memory.

Source: llm/server.go (`llamaServer.Load`, `ollamaServer.Load`, `createLayout`), read at 0.12.11, 0.14.0 and 0.24.0;
checked against recorded decisions of 0.12.11 and 0.24.0.
"""

from __future__ import annotations

from typing import Any

from .. import faults
from ..shapes import Decision, LoadRequest, Version
from . import common_rules, engines, graph_sizes, own_engine
from . import layout as layouts

FIRST_VERSION = (0, 12, 11)
NEWEST_VERSION = (0, 24, 0)
SATURATING_SINCE = (0, 14, 0)  # before, free memory less than one layer wraps around to 16 EiB
AUTOMATIC_FLASH_SINCE = (0, 13, 4)  # from here llama.cpp decides on flash attention where the user does not
EMBEDDING_BATCH_SINCE = (0, 13, 3)  # from here embedding models take a batch of the whole context

EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "bytes left free on every GPU; from 0.15.5 it also lowers the total that chooses the "
    "default context",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if fewer would do, in proportion to their free "
    "memory",
    "OLLAMA_KV_CACHE_TYPE": "a quantized type needs OLLAMA_FLASH_ATTENTION=1 on llama.cpp, flash attention on "
    "Ollama's own engine",
    "num_gpu": "number of layers, not of GPUs; it does not force several GPUs",
    "num_gpu_all": "no fallback to the CPU: all layers go to the GPUs even where memory is short (the load "
    "may fail); it does not force several GPUs",
    "main_gpu": "no effect on where layers go",
    "LLAMA_ARG_TENSOR_SPLIT": "no effect before 0.30: layers are given to the runner one by one",
    "LLAMA_ARG_FIT_TARGET": "no effect before 0.30",
}


def decide(request: LoadRequest) -> Decision:
    """What Ollama does with one load. On llama.cpp the decision has `graphs`, `weights` and `cache` too."""
    effective = common_rules.EffectiveRequest(request, request.version or NEWEST_VERSION)
    if effective.over_limit:
        return common_rules.evicting(effective)
    if effective.own_engine:
        return own_engine.decide(effective, request.runner)
    return _on_llama(effective)


def _on_llama(request: common_rules.EffectiveRequest) -> Decision:
    """A load on llama.cpp: KV cache and graph are estimated, and the layout follows (`llamaServer.Load`)."""
    dims = request.dims
    flash, cache_type = _attention(request)
    batch = _batch(request)
    graph_load = graph_sizes.GraphLoad(
        request.context * request.parallel, batch, request.parallel, cache_type, flash == "on"
    )
    kv, partial, full = graph_sizes.complete_graphs(dims, *graph_sizes.graph_size(dims, graph_load, request.version))
    sizes = [weights + cached for weights, cached in zip(dims.block_bytes, kv)] + [dims.output_bytes]
    gpus = [_less_one_layer(gpu, sizes[0], request.version) for gpu in (request.gpus if request.num_gpu else [])]
    extra: dict[str, Any] = {
        "flash_attention": flash,
        "cache_type": cache_type or None,
        "batch": batch,
        "faults": _faults(request, sizes[0]),
    }
    try:
        found, graphs = _iterate(layouts.Rules.of(request), gpus, sizes, max(partial, full))
    except layouts.LayoutError as error:
        return own_engine.without_layout(request, error, extra)
    complete = layouts.layers_of(found) == len(sizes)
    graphs.update((place, full if complete else partial) for place, dummy in found)
    placed = set(number for dummy, numbers in found for number in numbers)
    extra.update(
        ranges=found,
        graphs=graphs,
        weights=dims.block_bytes + [dims.output_bytes],
        cache=kv + [0],
        predicted_bytes=sum(sizes[number] for number in placed) + sum(graphs.values()),
    )
    return common_rules.decision(
        request,
        [(place, len(numbers)) for place, numbers in found],
        request.num_gpu if request.num_gpu > 0 else None,
        **extra,
    )


def _batch(request: common_rules.EffectiveRequest) -> int:
    """Tokens of a batch: an embedding model takes the whole context at once."""
    batch = min(request.batch, request.context)
    if request.dims.is_embedding and request.version >= EMBEDDING_BATCH_SINCE:
        return max(batch, request.context)
    return batch


def _iterate(
    rules: layouts.Rules, gpus: list[dict[str, Any]], sizes: list[int], graph_bytes: int
) -> tuple[layouts.Layout, dict[int, int]]:
    """Repeat the layout until the number of GPUs stops growing, counting the graph on each of them.

    A GPU counts as used as soon as the layout lists it, with or without a layer.

    Returns:
        (layout, bytes of the graph per GPU).
    """
    graphs = {place: 0 for place in range(len(gpus))}
    found: layouts.Layout = []
    while True:
        previous, found = found, layouts.create(rules, gpus, layouts.Sizes(sizes, graphs))
        if len(found) <= len(previous):
            return found, graphs
        for place, dummy in found:
            graphs[place] = graph_bytes


def _less_one_layer(gpu: dict[str, Any], layer: int, version: Version) -> dict[str, Any]:
    """The GPU with the buffer of one layer taken from its free memory."""
    free = gpu["free_bytes"] - layer
    if free < 0:
        free = 0 if version >= SATURATING_SINCE else free + layouts.TWO_TO_64
    return dict(gpu, free_bytes=free)


def _attention(request: common_rules.EffectiveRequest) -> tuple[str, str]:
    """(flash attention: on, off or auto; KV cache type or ""), as the runner is told."""
    wanted, by_user = engines.flash_wanted(request.dims, request.version, request.environment)
    on = (
        wanted
        and engines.flash_on_gpus(request.gpus, request.version)
        and engines.flash_for_model(request.dims, request.version)
    )
    if request.version < AUTOMATIC_FLASH_SINCE:
        return ("on" if on else "off"), (
            engines.cache_type(request.dims, request.version, request.environment) if on else ""
        )
    flash = ("on" if on else "off") if by_user else "auto"
    cache = engines.cache_type(request.dims, request.version, request.environment)
    return flash, cache if cache in ("", "f16") or flash == "on" else ""


def _faults(request: common_rules.EffectiveRequest, layer: int) -> list[dict[str, str]]:
    names = []
    if any(gpu["free_bytes"] < layer for gpu in request.gpus):
        names.append("wrap_around")
    if request.projector_bytes:
        names.append("projector_not_counted")
    return faults.met(request.version, *names)
