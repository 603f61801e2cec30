# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A load on Ollama's own engine, 0.11.5 to 0.24: the runner measures, layouts follow (`ollamaServer.Load`)."""

from __future__ import annotations

import dataclasses

from ...memory import compute
from ...memory import estimate as memory
from ...memory.load import Load
from ...model import hyperparameters
from .. import faults
from . import common_rules, engines, graph_sizes, measured_layout
from . import layout as layouts


def decide(request, beside_others, runner=None):
    """The decision (see `v0_5.decide`) for a request; `ranges` holds the layout.

    Args:
        request: common_rules.Request.
        beside_others: whether another model is loaded.
        runner: function (operation, layout) -> measured_layout.Report, or None for `predicted_runner`.
    """
    rules = layouts.Rules(
        request.version, request.num_gpu, request.spread, request.overhead_bytes, beside_others, request.system
    )
    wanted = engines.flash_wanted(request.dims, request.version, request.environment)[0]
    flash = (
        wanted
        and engines.flash_on_gpus(request.gpus, request.version)
        and engines.flash_for_model(request.dims, request.version)
    )
    cache = engines.cache_type(request.dims, request.version, request.environment) if flash else ""
    extra = {
        "flash_attention": "on" if flash else "off",
        "cache_type": cache or None,
        "batch": min(request.batch, request.context),
    }
    if runner is None:
        runner = predicted_runner(request, flash, cache or "f16")
    gpus = request.gpus if request.num_gpu else []
    try:
        found = measured_layout.load(rules, gpus, request.dims.blocks + 1, runner)
    except layouts.SearchForEver as error:
        return hangs(request, error, **extra)
    except layouts.NeedsRoom:
        return common_rules.refused(request, None, evicts=True, **extra)
    except (layouts.NoSystemMemory, measured_layout.CannotAllocate) as error:
        return common_rules.refused(request, str(error), **extra)
    extra["ranges"] = found
    return common_rules.decision(
        request,
        [(place, len(numbers)) for place, numbers in found],
        request.num_gpu if request.num_gpu > 0 else None,
        **extra,
    )


def hangs(request, error, **extra):
    """The decision of a load on which this version never returns."""
    extra.update(hangs=True, faults=extra.get("faults", []) + faults.met(request.version, "endless_search"))
    return common_rules.refused(request, "%s; leave num_gpu out" % error, **extra)


def predicted_runner(request, flash, cache_type):
    """A runner that reports what memory/ predicts; an allocation fails where a layout takes more than a GPU has free."""
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
        return measured_layout.Report(operation == "fit" or fits, layers, graphs, facts.embedding_bytes)

    return run
