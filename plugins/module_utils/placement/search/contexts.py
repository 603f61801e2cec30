# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The largest context that fits, for models whose context is "auto"."""

from __future__ import annotations

from ..ask.applied import KEEP_CONTEXT, KEEP_SPLIT, Applied
from ..ask.request import AUTO
from . import ways

CONTEXT_STEP = 256  # llama.cpp pads the context to this


def grow(choices, host, fitting):
    """Give the models the largest contexts that fit where they were placed: first all the same, then each what is left.

    A context that is in force is kept while it still fits and the largest is not much larger.
    """
    growing = [choice for choice in choices if _grows(choice)]
    if not growing:
        return
    now = {choice["wanted"]["served"]: choice["placements"][0]["predicted"]["context_length"] for choice in growing}
    highest = {choice["wanted"]["served"]: choice["wanted"]["facts"].context_length for choice in growing}

    # As if nothing ran: what may be missing of the headroom where a model runs is not there to grow into.
    fresh = host.copy()
    fresh.applied = Applied()

    def same(context):
        return {name: max(now[name], min(context, highest[name])) for name in now}

    reached = _largest(
        min(now.values()), max(highest.values()), lambda context: _place(growing, same(context), fresh, fitting)
    )
    contexts = same(reached)
    for name in contexts if len(contexts) > 1 else ():
        contexts[name] = _largest(
            contexts[name],
            highest[name],
            lambda context, name=name: _place(growing, dict(contexts, **{name: context}), fresh, fitting),
        )
    contexts = _kept(growing, contexts, highest, host, fresh, fitting)
    if contexts == now:
        return
    placements = _place(growing, contexts, host, fitting)
    for choice in growing:
        for old in choice["placements"]:
            host.give_back(old)
    for choice, placed in zip(growing, placements):
        choice["placements"] = placed
        for new in placed:
            host.take(new)


def _kept(growing, contexts, highest, host, fresh, fitting):
    """The contexts with those in their place that are in force: all of them if they fit, unless the others are worth it."""
    running = {name: host.applied.context_length(name) for name in contexts}
    running = {name: tokens for name, tokens in running.items() if tokens and tokens <= highest[name]}
    everything = dict(contexts, **running)
    before = _place(growing, everything, host, fitting) if running else None
    if before:
        larger = any(contexts[name] > tokens * (1 + KEEP_CONTEXT) for name, tokens in running.items())
        after = _place(growing, contexts, fresh, fitting) if larger else None
        return contexts if after and _much_more(before, after) else everything
    for name, tokens in sorted(running.items()):
        if contexts[name] <= tokens * (1 + KEEP_CONTEXT) and _place(
            growing, dict(contexts, **{name: tokens}), host, fitting
        ):
            contexts[name] = tokens
    return contexts


def _much_more(before, after):
    """Whether placements take clearly more memory than others on any GPU."""
    sums = []
    for found in (before, after):
        sums.append({})
        for placed in [placed for placements in found for placed in placements]:
            for gpu, device in zip(placed["gpus"], placed["predicted"]["devices"]):
                sums[-1][gpu["uuid"]] = sums[-1].get(gpu["uuid"], 0) + device["total_bytes"] / float(gpu["total_bytes"])
    return any(share > sums[0].get(uuid, 0) + KEEP_SPLIT for uuid, share in sums[1].items())


def _grows(choice):
    return (
        choice["wanted"]["context_length"] == AUTO
        and choice["placements"]
        and choice["placements"][0]["outcome"] not in ("partial", "cpu")
    )


def _largest(low, high, fits):
    """The largest context from `low` (which fits) to `high` that fits: a multiple of the step, or one of the two."""
    if low >= high or fits(high):
        return high if high > low else low
    least, most, best = low // CONTEXT_STEP + 1, (high - 1) // CONTEXT_STEP, low
    while least <= most:
        middle = (least + most) // 2
        if fits(middle * CONTEXT_STEP):
            best, least = middle * CONTEXT_STEP, middle + 1
        else:
            most = middle - 1
    return best


def _place(growing, contexts, host, fitting):
    """Placements of each model at these contexts on the GPUs that it has, or None where they do not all fit."""
    trial = host.copy()
    for choice in growing:
        for old in choice["placements"]:
            trial.give_back(old)
    found = []
    for choice in growing:
        placements = []
        for old in choice["placements"]:
            placed = ways.fits(choice["wanted"], old["gpus"], trial, fitting, contexts[choice["wanted"]["served"]])
            if not placed:
                return None
            placed["outcome"] = old["outcome"]
            trial.take(placed)
            placements.append(placed)
        found.append(placements)
    return found
