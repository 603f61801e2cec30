# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama to 0.11.4: one GPU if the estimate fits it, else all GPUs of the library, layers dealt round robin.

Source: server/sched.go (`pickBestFullFitByLibrary`, `pickBestPartialFitByLibrary`), llm/memory.go and llm/server.go,
read at 0.5.13 and 0.11.4; checked against recorded decisions of 0.11.4.
"""

from __future__ import annotations

from .. import faults
from . import common_rules, engines, estimator

FIRST_VERSION = (0, 0, 0)
NEWEST_VERSION = (0, 11, 4)
LEAST_CONTEXT = 2048  # the estimator never counts less, whatever is asked for
LEAST_CONTEXT_SINCE = (0, 7, 1)  # before, only with a projector in a file of its own

EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "bytes that the estimate leaves free on every GPU",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if one would do; layers are dealt evenly until a GPU is full",
    "OLLAMA_KV_CACHE_TYPE": "used where OLLAMA_FLASH_ATTENTION is on; the estimate counts q8_0 as 1 byte and q4_0 as half a byte",
    "num_gpu": "number of layers, not of GPUs",
    "num_gpu_all": "no fallback to the CPU; as it is above the number of layers the model never counts as fitting one GPU, so all GPUs are taken",
    "main_gpu": "no effect on where layers go",
    "LLAMA_ARG_TENSOR_SPLIT": "no effect before 0.30: the split is the estimate's",
    "LLAMA_ARG_FIT_TARGET": "no effect before 0.30",
}


def decide(
    model, gpus, options=None, environment=None, residents=None, layers=True, version=NEWEST_VERSION, system=None
):
    """What this era does with one load, see `v0_30.decide`.

    `residents` counts only as "another model is loaded". `layers` is accepted for the common interface: the estimate
    gives them anyway. Further entries: `estimate` (see estimator.estimate), `full_fit`.

    Args:
        version: tuple of three integers.
        system: {free_bytes, swap_bytes} of the host, or None.
    """
    request = common_rules.Request(model, gpus, options, environment, version, system)
    load = request.estimate_load()
    if request.over_limit(residents):
        return common_rules.refused(request, None, evicts=True, full_fit=False)
    if request.num_gpu == 0 or not request.gpus:
        chosen, full_fit, parallel = None, False, request.parallel
    else:
        chosen, full_fit, parallel = _choose(request, load, bool(residents))
        if chosen is None:
            return common_rules.refused(request, None, evicts=True, full_fit=False)
    load.parallel = request.parallel = parallel
    members = _cpu(system) if chosen is None else [request.gpus[place] for place in chosen]
    total = _counted(request, request.context * parallel)
    found = estimator.estimate(load, members, total)
    if chosen is None and residents and system and found["total_size"] > system["free_bytes"]:
        return common_rules.refused(request, None, evicts=True, full_fit=False)
    error = common_rules.system_shortage(request, found["total_size"] - found["vram_size"])
    placed = [] if chosen is None or not found["layers"] else list(zip(chosen, found["split"]))
    forced = request.num_gpu if request.num_gpu >= 0 else (found["layers"] or None)
    extra = {
        "full_fit": full_fit,
        "estimate": found,
        "predicted_bytes": found["vram_size"],
        "gpu_layers": forced,
        "batch": request.batch,
        "flash_attention": "on" if load.flash(members) and engines.flash_on_gpus(members, version) else "off",
        "faults": _faults(request),
    }
    if error:
        return common_rules.refused(request, error, **extra)
    return common_rules.decision(request, placed, **extra)


def _choose(request, load, beside_others):
    """(positions of the GPUs or None, whether everything fits, slots)."""
    candidates = (request.parallel,) if request.parallel_set else common_rules.default_candidates(request.version)
    for group in estimator.by_library(request.gpus, request.version):
        order = estimator.most_free_first(request.gpus, group)
        for number in candidates if not request.spread else ():
            load.parallel = number
            for place in order:
                if estimator.fits_fully(load, [request.gpus[place]], _counted(request, request.asked_context * number))[
                    0
                ]:
                    return [place], True, number
        for number in candidates:
            load.parallel = number
            if estimator.fits_fully(
                load, [request.gpus[place] for place in order], _counted(request, request.asked_context * number)
            )[0]:
                return order, True, number
    if beside_others:
        return None, False, request.parallel
    load.parallel = request.parallel if request.parallel_set else 1
    return (
        estimator.best_partial(load, request.gpus, _counted(request, request.asked_context * load.parallel)),
        False,
        load.parallel,
    )


def _counted(request, context):
    if request.version < LEAST_CONTEXT_SINCE and not request.projector_bytes:
        return context
    return max(context, LEAST_CONTEXT)


def _cpu(system):
    """The host as the estimator sees it: a GPU of library "cpu"."""
    return [{"library": "cpu", "free_bytes": system["free_bytes"] if system else 0, "minimum_bytes": 0}]


def _faults(request):
    names = []
    if request.dims.context and request.asked_context > request.dims.context:
        names.append("context_not_clamped")
    if request.num_gpu > request.dims.blocks + 1 and len(request.gpus) > 1:
        names.append("num_gpu_takes_all_gpus")
    return faults.met(request.version, *names)
