# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs each model of a host goes to: all models together, deterministic, whatever the order of the GPUs."""

from __future__ import annotations

from ..ask.request import AUTO, DEFAULT_CONTEXT
from . import contexts, resident, ways
from .host import Host

LEAST_CONTEXT = 2048  # less is hardly of use to anyone


def choose(wanted, gpus, fitting, topology=(), applied=None, tries=resident.MOST_TRIES, all_or_none=False):
    """Place all models of a host.

    Args:
        wanted: checked models of request.
        gpus: usable GPUs in PCI order.
        fitting: a Fitting for the version planned for.
        topology: facts about connections between GPUs.
        applied: the Applied of the host, or None.
        tries: ways to place all models together that are tried before the host counts as too small.
        all_or_none: whether to give up, quickly, where not every model has all its layers on GPUs.

    Returns:
        (choices, host). choices: list in the order of `wanted`: dicts {wanted, strategy, reason, placements,
        shortfall_bytes, attempt}. placements is a list of {gpus, predicted, tensor_split, batch, shortfall_bytes,
        outcome}, one an instance; empty if the model cannot be placed, `attempt` is then the closest one or None. host:
        the Host with all of them on it. (None, host) where `all_or_none` gives up.
    """
    alone = len(wanted) == 1
    for start in _starts(wanted):
        host = Host(gpus, topology, applied)
        tried = [dict(one, start_context=start) if one["context_length"] == AUTO else one for one in wanted]
        choices = resident.place_together(tried, host, fitting, alone, tries, all_or_none)
        if choices and all(choice["placements"] for choice in choices):
            break
    if choices is None:
        return None, host
    by_name = sorted(
        choices, key=lambda choice: choice["wanted"]["served"]
    )  # whatever the order in which they are listed
    for choice in by_name:
        _replicate(choice, host, fitting)
    contexts.grow(by_name, host, fitting)
    for choice in by_name:
        _pin(choice, host, fitting)
    return choices, host


def _starts(wanted):
    """Contexts to place the models with whose context is "auto": the default, or less where that does not fit."""
    if not any(one["context_length"] == AUTO for one in wanted):
        return [DEFAULT_CONTEXT]
    return [DEFAULT_CONTEXT, DEFAULT_CONTEXT // 2, LEAST_CONTEXT]


def _replicate(choice, host, fitting):
    """Add the further instances of a model, one a GPU, as many as are asked for and fit."""
    wanted = choice["wanted"]
    if (
        choice["strategy"] not in ("replicate", "single")
        or not choice["placements"]
        or choice["placements"][0]["outcome"] != "single"
    ):
        return
    if choice["strategy"] == "single" and (wanted["replicas"] or 1) == 1:
        return
    while len(choice["placements"]) < (wanted["replicas"] or len(host.gpus)):
        used = [gpu["uuid"] for placed in choice["placements"] for gpu in placed["gpus"]]
        placed = next(ways.singles(wanted, host, fitting, used), None)
        if placed is None:
            break
        placed["outcome"] = "single"
        host.take(placed)
        choice["placements"].append(placed)
    choice["placements"].sort(key=lambda placed: host.gpus.index(placed["gpus"][0]))


def _pin(choice, host, fitting):
    """Write down what would depend on which model is loaded first where several share GPUs: the engine splits by the
    memory that is free when it loads, and Ollama chooses the batch by it."""
    wanted = choice["wanted"]
    if not fitting.release.layers_can_be_set:
        return
    for placed in choice["placements"]:
        if not any(host.served(gpu) > 1 for gpu in placed["gpus"]) or placed["outcome"] in ("partial", "cpu"):
            continue
        if not wanted["ubatch"]:
            placed["batch"] = placed["predicted"]["ubatch"]
        layers = [device["layers"] for device in placed["predicted"]["devices"]]
        if placed["outcome"] == "split" and all(layers) and not wanted["allow_cpu_offload"]:
            placed["tensor_split"] = layers
