# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A load on Ollama's own engine, 0.11.5 to 0.24: the runner measures, layouts follow (`ollamaServer.Load`)."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from ...memory import compute
from ...memory import estimate as memory
from ...memory.load import Load
from ...model import hyperparameters
from .. import faults
from ..shapes import Decision
from . import common_rules, engines, graph_sizes, measured_layout
from . import layout as layouts


def decide(request: common_rules.EffectiveRequest, runner: Optional[measured_layout.Runner] = None) -> Decision:
    """The decision for a request; `ranges` holds the layout.

    Args:
        request: the load.
        runner: what measures a layout, or None for `predicted_runner`.
    """
    wanted = engines.flash_wanted(request.dims, request.version, request.environment)[0]
    flash = (
        wanted
        and engines.flash_on_gpus(request.gpus, request.version)
        and engines.flash_for_model(request.dims, request.version)
    )
    cache_type = engines.cache_type(request.dims, request.version, request.environment) if flash else ""
    extra: dict[str, Any] = {
        "flash_attention": "on" if flash else "off",
        "cache_type": cache_type or None,
        "batch": min(request.batch, request.context),
    }
    if runner is None:
        runner = predicted_runner(request, flash, cache_type or "f16")
    gpus = request.gpus if request.num_gpu else []
    try:
        found = measured_layout.load(layouts.Rules.of(request), gpus, request.dims.blocks + 1, runner)
    except layouts.LayoutError as error:
        return without_layout(request, error, extra)
    return common_rules.decision(
        request,
        [(place, len(numbers)) for place, numbers in found],
        request.num_gpu if request.num_gpu > 0 else None,
        ranges=found,
        **extra,
    )


def without_layout(
    request: common_rules.EffectiveRequest, error: layouts.LayoutError, extra: dict[str, Any]
) -> Decision:
    """The decision where no layout was found.

    Args:
        request: the load.
        error: why.
        extra: further fields of the Decision.
    """
    if isinstance(error, layouts.NeedsRoom):
        return common_rules.evicting(request, **extra)
    if isinstance(error, layouts.EndlessSearch):
        met = list(extra.get("faults", [])) + faults.met(request.version, "endless_search")
        return common_rules.refused(request, "%s; leave num_gpu out" % error, **dict(extra, hangs=True, faults=met))
    return common_rules.refused(request, str(error), **extra)


def predicted_runner(request: common_rules.EffectiveRequest, flash: bool, cache_type: str) -> measured_layout.Runner:
    """A runner that reports what memory/ predicts.

    An allocation fails where a layout takes more than a GPU has free.
    """
    facts = hyperparameters.complete(request.model)
    load = Load(
        context_length=request.context,
        parallel=request.parallel,
        ubatch=min(request.batch, request.context),
        cache_type=cache_type,
    )
    layers = memory.layer_bytes(facts, load)
    vision_bytes, vision_graph_bytes = graph_sizes.vision_graph(request.dims)
    layers[-1] += vision_bytes

    graph_load = dataclasses.replace(load, flash_attention=flash)
    known = {}

    def graph(numbers):
        if numbers not in known:
            held = set(numbers)
            slots = [0 if index in held else None for index in range(len(layers))]
            size = compute.compute_by_device(facts, slots, 1, graph_load)[0]
            known[numbers] = size + (vision_graph_bytes if len(layers) - 1 in held else 0)
        return known[numbers]

    def run(operation, layout):
        graphs, fits = {place: 0 for place in range(len(request.gpus))}, True
        for place, numbers in layout:
            if numbers:
                graphs[place] = graph(tuple(numbers))
                fits = (
                    fits
                    and sum(layers[index] for index in numbers) + graphs[place] <= request.gpus[place]["free_bytes"]
                )
        sizes = layouts.Sizes(layers, graphs, facts.embedding_bytes)
        return measured_layout.Report(operation == "fit" or fits, sizes)

    return run
