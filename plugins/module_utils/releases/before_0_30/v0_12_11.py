# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.12.11 to 0.24: one layout for both engines, on the fewest GPUs, in proportion to their free memory.

Source: llm/server.go (`llamaServer.Load`, `ollamaServer.Load`, `createLayout`), read at 0.12.11, 0.14.0 and 0.24.0;
checked against recorded decisions of 0.12.11 and 0.24.0.
"""

from __future__ import annotations

from .. import faults
from . import common_rules, engines, graph_sizes, own_engine
from . import layout as layouts

FIRST_VERSION = (0, 12, 11)
NEWEST_VERSION = (0, 24, 0)
SATURATING_SINCE = (0, 14, 0)  # before, free memory less than one layer wraps around to 16 EiB
AUTOMATIC_FLASH_SINCE = (0, 13, 4)  # from here llama.cpp decides on flash attention where the user does not
EMBEDDING_BATCH_SINCE = (0, 13, 3)  # from here embedding models take a batch of the whole context

EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "bytes left free on every GPU; from 0.15.5 it also lowers the total that chooses the default context",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if fewer would do, in proportion to their free memory",
    "OLLAMA_KV_CACHE_TYPE": "a quantized type needs OLLAMA_FLASH_ATTENTION=1 on llama.cpp, flash attention on Ollama's own engine",
    "num_gpu": "number of layers, not of GPUs; it does not force several GPUs",
    "num_gpu_all": "no fallback to the CPU: layers are dealt even where memory is short (the load may fail); it does not force several GPUs",
    "main_gpu": "no effect on where layers go",
    "LLAMA_ARG_TENSOR_SPLIT": "no effect before 0.30: layers are given to the runner one by one",
    "LLAMA_ARG_FIT_TARGET": "no effect before 0.30",
}


def decide(
    model,
    gpus,
    options=None,
    environment=None,
    residents=None,
    layers=True,
    version=NEWEST_VERSION,
    system=None,
    runner=None,
):
    """What this era does with one load, see `v0_11_5.decide`. Further entries, for llama.cpp: `graphs` (position of
    the GPU -> bytes counted there), `weights` and `cache` (bytes of every layer, the output layer last)."""
    request = common_rules.Request(model, gpus, options, environment, version, system)
    if request.over_limit(residents):
        return common_rules.refused(request, None, evicts=True)
    if request.own_engine:
        return own_engine.decide(request, bool(residents), runner)
    return _on_llama(request, bool(residents))


def _on_llama(request, beside_others):
    dims, version = request.dims, request.version
    flash, cache = _attention(request)
    batch = min(request.batch, request.context)
    if dims.is_embedding and version >= EMBEDDING_BATCH_SINCE:
        batch = max(batch, request.context)
    kv, partial, full = graph_sizes.graph_size(
        dims, request.context * request.parallel, batch, request.parallel, cache, flash == "on", version
    )
    partial, full = graph_sizes.complete_graphs(dims, kv, partial, full)
    sizes = [weights + cached for weights, cached in zip(dims.block_bytes, kv)] + [dims.output_bytes]
    gpus = [_less_one_layer(gpu, sizes[0], version) for gpu in (request.gpus if request.num_gpu else [])]
    rules = layouts.Rules(
        version, request.num_gpu, request.spread, request.overhead_bytes, beside_others, request.system
    )
    extra = {
        "flash_attention": flash,
        "cache_type": cache or None,
        "batch": batch,
        "faults": _faults(request, sizes[0]),
    }
    try:
        found, graphs = _iterate(rules, gpus, sizes, max(partial, full))
    except layouts.SearchForEver as error:
        return own_engine.hangs(request, error, **extra)
    except layouts.NeedsRoom:
        return common_rules.refused(request, None, evicts=True, **extra)
    except layouts.NoSystemMemory as error:
        return common_rules.refused(request, str(error), **extra)
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


def _iterate(rules, gpus, sizes, graph):
    """Lay out until the number of GPUs stops growing, counting the graph on each of them.

    A GPU counts as used as soon as the layout lists it, with or without a layer.
    """
    graphs = {place: 0 for place in range(len(gpus))}
    found = []
    while True:
        previous, found = found, layouts.create(rules, gpus, sizes, graphs)
        if len(found) <= len(previous):
            return found, graphs
        for place, dummy in found:
            graphs[place] = graph


def _less_one_layer(gpu, layer, version):
    """The GPU with the buffer of one layer taken from its free memory."""
    free = gpu["free_bytes"] - layer
    if free < 0:
        free = 0 if version >= SATURATING_SINCE else free + layouts.TWO_TO_64
    return dict(gpu, free_bytes=free)


def _attention(request):
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


def _faults(request, layer):
    names = []
    if any(gpu["free_bytes"] < layer for gpu in request.gpus):
        names.append("wrap_around")
    if request.projector_bytes:
        names.append("projector_not_counted")
    return faults.met(request.version, *names)
