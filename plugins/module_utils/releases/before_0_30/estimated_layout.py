# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A load by the estimator on the fewest GPUs, 0.11.5 to 0.12.10 (`llamaServer.Load` of llm/server.go)."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from .. import faults
from ..shapes import Decision
from . import common_rules, engines, estimator

CPU_CAN_FIT_SINCE = (0, 11, 7)  # before, a load on the CPU beside another model always evicts that one
NO_CPU_DEVICE_SINCE = (0, 12, 7)  # before, the CPU is estimated as if it were a GPU without a minimum


def decide(request: common_rules.EffectiveRequest) -> Decision:
    """The decision for a request. Beside other models, those are unloaded rather than that this one loads partly."""
    load = request.estimated_load()
    on_cpu = request.num_gpu == 0 or not request.gpus
    chosen = [] if on_cpu else _fewest(request, load)
    if chosen is None:
        if request.beside_others:
            return common_rules.evicting(request)
        chosen = estimator.best_partial(load, request.gpus, request.context)
    members = _cpu(request) if on_cpu else [request.gpus[place] for place in chosen]
    found = estimator.estimate(load, members, request.context)
    if on_cpu and not _cpu_fits(request, found):
        return common_rules.evicting(request)
    extra = _told(request, found, chosen)
    error = common_rules.system_shortage(request, found.total_size - found.vram_size)
    if error:
        return common_rules.refused(request, error, **extra)
    wanted = request.num_gpu
    if wanted < 0 and found.layers:
        wanted = found.layers
    if not found.layers:
        return common_rules.decision(request, [], max(0, wanted), **extra)
    distributed = estimator.distribute(found.split, request.dims.blocks, wanted)
    ranges = list(zip(chosen, distributed))
    placed = [(place, len(numbers)) for place, numbers in ranges]
    return common_rules.decision(request, placed, wanted, ranges=ranges, **extra)


def _told(request: common_rules.EffectiveRequest, found: estimator.Estimate, chosen: Sequence[int]) -> dict[str, Any]:
    """Fields of the Decision that tell what the runner is started with."""
    flash = _runner_flash(request)
    cache_type = engines.cache_type(request.dims, request.version, request.environment) if flash else ""
    clamped = request.version >= engines.SEPARATE_PROJECTOR_SINCE
    return {
        "estimate": found,
        "predicted_bytes": found.vram_size,
        "batch": min(request.batch, request.context) if clamped else request.batch,
        "flash_attention": "on" if flash else "off",
        "cache_type": cache_type or None,
        "faults": _faults(request, chosen),
    }


def _fewest(request: common_rules.EffectiveRequest, load: estimator.EstimatedLoad) -> Optional[list[int]]:
    """Positions of the fewest GPUs with most free memory that take everything, or None."""
    for group in estimator.by_library(request.gpus, request.version):
        order = estimator.most_free_first(request.gpus, group)
        for count in (len(order),) if request.spread else range(1, len(order) + 1):
            if estimator.fits_fully(load, [request.gpus[place] for place in order[:count]], request.context):
                return order[:count]
    return None


def _cpu(request: common_rules.EffectiveRequest) -> list[dict[str, Any]]:
    """The devices that stand for the CPU in the estimate."""
    if request.version >= NO_CPU_DEVICE_SINCE:
        return []
    return [{"library": "cpu", "free_bytes": request.system["free_bytes"] if request.system else 0, "minimum_bytes": 0}]


def _cpu_fits(request: common_rules.EffectiveRequest, found: estimator.Estimate) -> bool:
    """Whether the host holds the model: from 0.12.7 in its free memory always, before only beside other models."""
    if request.version < CPU_CAN_FIT_SINCE and request.beside_others:
        return False
    if not request.system or (request.version < NO_CPU_DEVICE_SINCE and not request.beside_others):
        return True
    return found.total_size <= request.system["free_bytes"]


def _runner_flash(request: common_rules.EffectiveRequest) -> bool:
    """What the runner is told: as the estimate, but with all GPUs checked."""
    wanted = engines.flash_wanted(request.dims, request.version, request.environment)[0]
    return (
        wanted
        and engines.flash_on_gpus(request.gpus, request.version)
        and engines.flash_for_model(request.dims, request.version)
    )


def _faults(request: common_rules.EffectiveRequest, chosen: Sequence[int]) -> list[dict[str, str]]:
    names = []
    if request.num_gpu > request.dims.blocks + 1 and len(request.gpus) > 1:
        names.append("num_gpu_takes_all_gpus")
    if len(chosen) > 1:
        names.append("layers_permuted")
    if len(request.gpus) > 1:
        names.append("context_on_every_gpu")
    return faults.met(request.version, *names)
