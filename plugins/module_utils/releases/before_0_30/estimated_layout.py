# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A load by the estimator on the fewest GPUs, 0.11.5 to 0.12.10 (`llamaServer.Load` of llm/server.go)."""

from __future__ import annotations

from .. import faults
from . import common_rules, engines, estimator

CPU_CAN_FIT_SINCE = (0, 11, 7)  # before, a load on the CPU beside another model always evicts that one
NO_CPU_DEVICE_SINCE = (0, 12, 7)  # before, the CPU is estimated as if it were a GPU without a minimum


def decide(request, beside_others):
    """The decision (see `v0_5.decide`) for a request.

    Args:
        request: common_rules.Request.
        beside_others: whether another model is loaded; then a partial load evicts it instead.
    """
    load = request.estimate_load()
    on_cpu = request.num_gpu == 0 or not request.gpus
    chosen = [] if on_cpu else _fewest(request, load)
    if chosen is None:
        if beside_others:
            return common_rules.refused(request, None, evicts=True)
        chosen = estimator.best_partial(load, request.gpus, request.context)
    members = _cpu(request) if on_cpu else [request.gpus[place] for place in chosen]
    found = estimator.estimate(load, members, request.context)
    if on_cpu and not _cpu_fits(request, found, beside_others):
        return common_rules.refused(request, None, evicts=True)
    flash = _runner_flash(request)
    extra = {
        "estimate": found,
        "predicted_bytes": found["vram_size"],
        "batch": request.batch
        if request.version < engines.SEPARATE_PROJECTOR_SINCE
        else min(request.batch, request.context),
        "flash_attention": "on" if flash else "off",
        "cache_type": (engines.cache_type(request.dims, request.version, request.environment) or None)
        if flash
        else None,
        "faults": _faults(request, chosen),
    }
    error = common_rules.system_shortage(request, found["total_size"] - found["vram_size"])
    if error:
        return common_rules.refused(request, error, **extra)
    wanted = request.num_gpu
    if wanted < 0 and found["layers"]:
        wanted = found["layers"]
    if not found["layers"]:
        return common_rules.decision(request, [], max(0, wanted), **extra)
    dealt = estimator.deal(found["split"], request.dims.blocks, wanted)
    extra["ranges"] = list(zip(chosen, dealt))
    return common_rules.decision(
        request, [(place, len(numbers)) for place, numbers in extra["ranges"]], wanted, **extra
    )


def _fewest(request, load):
    """Positions of the fewest GPUs with most free memory that take everything, or None."""
    for group in estimator.by_library(request.gpus, request.version):
        order = estimator.most_free_first(request.gpus, group)
        for count in (len(order),) if request.spread else range(1, len(order) + 1):
            if estimator.fits_fully(load, [request.gpus[place] for place in order[:count]], request.context)[0]:
                return order[:count]
    return None


def _cpu(request):
    if request.version >= NO_CPU_DEVICE_SINCE:
        return []
    return [{"library": "cpu", "free_bytes": request.system["free_bytes"] if request.system else 0, "minimum_bytes": 0}]


def _cpu_fits(request, found, beside_others):
    """Whether the host holds the model: from 0.12.7 in its free memory always, before only beside other models."""
    if request.version < CPU_CAN_FIT_SINCE and beside_others:
        return False
    if not request.system or (request.version < NO_CPU_DEVICE_SINCE and not beside_others):
        return True
    return found["total_size"] <= request.system["free_bytes"]


def _runner_flash(request):
    """What the runner is told: as the estimate, but with all GPUs checked."""
    wanted = engines.flash_wanted(request.dims, request.version, request.environment)[0]
    return (
        wanted
        and engines.flash_on_gpus(request.gpus, request.version)
        and engines.flash_for_model(request.dims, request.version)
    )


def _faults(request, chosen):
    names = []
    if request.num_gpu > request.dims.blocks + 1 and len(request.gpus) > 1:
        names.append("num_gpu_takes_all_gpus")
    if len(chosen) > 1:
        names.append("layers_permuted")
    if len(request.gpus) > 1:
        names.append("context_on_every_gpu")
    return faults.met(request.version, *names)
