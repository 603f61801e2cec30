# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama up to 0.11.4: one GPU if the estimate fits it, else all GPUs of the library, one layer to each in turn.

Source: server/sched.go (`pickBestFullFitByLibrary`, `pickBestPartialFitByLibrary`), llm/memory.go and llm/server.go,
read at 0.5.13 and 0.11.4; checked against recorded decisions of 0.11.4.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from .. import faults
from ..shapes import Decision, LoadRequest
from . import common_rules, engines, estimator

FIRST_VERSION = (0, 0, 0)
NEWEST_VERSION = (0, 11, 4)
LEAST_CONTEXT = 2048  # the estimator never counts less, whatever is asked for
LEAST_CONTEXT_SINCE = (0, 7, 1)  # before, only with a projector in a file of its own

EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "bytes that the estimate leaves free on every GPU",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if one would do; layers are distributed evenly "
    "until a GPU is full",
    "OLLAMA_KV_CACHE_TYPE": "used where OLLAMA_FLASH_ATTENTION is on; the estimate counts q8_0 as 1 byte and q4_0 "
    "as half a byte",
    "num_gpu": "number of layers, not of GPUs",
    "num_gpu_all": "no fallback to the CPU; as it is above the number of layers the model never counts as "
    "fitting one GPU, so all GPUs are taken",
    "main_gpu": "no effect on where layers go",
    "LLAMA_ARG_TENSOR_SPLIT": "no effect before 0.30: the split is the estimate's",
    "LLAMA_ARG_FIT_TARGET": "no effect before 0.30",
}


def decide(request: LoadRequest) -> Decision:
    """What Ollama does with one load, with the `estimate` behind it."""
    effective = common_rules.EffectiveRequest(request, request.version or NEWEST_VERSION)
    if effective.over_limit:
        return common_rules.evicting(effective)
    load = effective.estimated_load()
    chosen = None
    if effective.num_gpu != 0 and effective.gpus:
        chosen, parallel = _choose(effective, load)
        if chosen is None:
            return common_rules.evicting(effective)
        effective.parallel = parallel
        load = dataclasses.replace(load, parallel=parallel)
    system = request.system
    members = _cpu(system) if chosen is None else [effective.gpus[place] for place in chosen]
    found = estimator.estimate(load, members, _counted(effective, effective.context * effective.parallel))
    if chosen is None and request.residents and system and found.total_size > system["free_bytes"]:
        return common_rules.evicting(effective)
    flash = load.flash(members) and engines.flash_on_gpus(members, effective.version)
    extra: dict[str, Any] = {
        "estimate": found,
        "predicted_bytes": found.vram_size,
        "gpu_layers": effective.num_gpu if effective.num_gpu >= 0 else (found.layers or None),
        "batch": effective.batch,
        "flash_attention": "on" if flash else "off",
        "faults": _faults(effective),
    }
    error = common_rules.system_shortage(effective, found.total_size - found.vram_size)
    if error:
        return common_rules.refused(effective, error, **extra)
    placed = [] if chosen is None or not found.layers else list(zip(chosen, found.split))
    return common_rules.decision(effective, placed, **extra)


def _choose(request: common_rules.EffectiveRequest, load: estimator.EstimatedLoad) -> tuple[Optional[list[int]], int]:
    """(positions of the GPUs, number of slots); no positions where another model is unloaded instead."""
    candidates = (request.parallel,) if request.parallel_set else common_rules.default_candidates(request.version)

    def fits(places, parallel):
        context = _counted(request, request.asked_context * parallel)
        members = [request.gpus[place] for place in places]
        return estimator.fits_fully(dataclasses.replace(load, parallel=parallel), members, context)

    for group in estimator.by_library(request.gpus, request.version):
        order = estimator.most_free_first(request.gpus, group)
        for parallel in candidates if not request.spread else ():
            for place in order:
                if fits([place], parallel):
                    return [place], parallel
        for parallel in candidates:
            if fits(order, parallel):
                return order, parallel
    if request.beside_others:
        return None, request.parallel
    parallel = request.parallel if request.parallel_set else 1
    context = _counted(request, request.asked_context * parallel)
    return estimator.best_partial(dataclasses.replace(load, parallel=parallel), request.gpus, context), parallel


def _counted(request: common_rules.EffectiveRequest, context: int) -> int:
    """The context that the estimator counts with."""
    if request.version < LEAST_CONTEXT_SINCE and not request.projector_bytes:
        return context
    return max(context, LEAST_CONTEXT)


def _cpu(system: Optional[dict[str, int]]) -> list[dict[str, Any]]:
    """The host as the estimator sees it: a GPU of library "cpu"."""
    return [{"library": "cpu", "free_bytes": system["free_bytes"] if system else 0, "minimum_bytes": 0}]


def _faults(request: common_rules.EffectiveRequest) -> list[dict[str, str]]:
    names = []
    if request.dims.context and request.asked_context > request.dims.context:
        names.append("context_not_clamped")
    if request.num_gpu > request.dims.blocks + 1 and len(request.gpus) > 1:
        names.append("num_gpu_takes_all_gpus")
    return faults.met(request.version, *names)
