# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The largest context that fits, for models whose context is "auto"."""

from __future__ import annotations

import dataclasses
from typing import Callable, Optional, Sequence

from ..ask.applied import KEEP_CONTEXT, KEEP_SPLIT, Applied
from ..shapes import Choice, Placed
from . import candidate_placements
from .fitting import Fitting
from .host import Host

CONTEXT_STEP = 256  # llama.cpp pads the context to this

Contexts = dict[str, int]  # of each model by its create_as, in tokens
Placements = dict[str, tuple[Placed, ...]]  # of each model by its create_as


def grown(choices: Sequence[Choice], host: Host, fitting: Fitting) -> list[Choice]:
    """The choices with the largest contexts that fit where the models were placed; the host is changed.

    First all models get the same context, then each model what is left. A context that is in force is kept while it
    still fits and the largest is not much larger.
    """
    growing = [choice for choice in choices if _grows(choice)]
    if not growing:
        return list(choices)
    growth = _Growth(growing, fitting)
    # As if nothing ran: what may be missing of the headroom where a model runs is not there to grow into.
    fresh = host.copy()
    fresh.applied = Applied()
    contexts = growth.largest(fresh)
    contexts = growth.kept(contexts, host, fresh)
    placements = None if contexts == growth.now else growth.placements(contexts, host)
    if placements is None:
        return list(choices)
    for choice in growing:
        for old in choice.placements:
            host.give_back(old)
    for choice in growing:
        for new in placements[choice.wanted.create_as]:
            host.take(new)
    return [
        dataclasses.replace(choice, placements=placements.get(choice.wanted.create_as, choice.placements))
        for choice in choices
    ]


def _grows(choice: Choice) -> bool:
    return choice.wanted.auto_context and bool(choice.placements) and choice.placements[0].on_gpus_only


class _Growth:
    """The models whose contexts grow, and what fits.

    Args:
        growing: their choices.
        fitting: what a model takes.

    Attributes:
        now: contexts that they were placed with.
        highest: contexts that they were trained for.
    """

    def __init__(self, growing: Sequence[Choice], fitting: Fitting) -> None:
        self.growing = growing
        self.fitting = fitting
        self.now: Contexts = {
            choice.wanted.create_as: choice.placements[0].predicted.context_length for choice in growing
        }
        self.highest: Contexts = {
            choice.wanted.create_as: choice.wanted.facts.context_length or 0 for choice in growing
        }

    def largest(self, fresh: Host) -> Contexts:
        """The largest contexts that fit: the same for all models, then for each what is left."""

        def same(context: int) -> Contexts:
            return {name: max(self.now[name], min(context, self.highest[name])) for name in self.now}

        low, high = min(self.now.values()), max(self.highest.values())
        contexts = same(_largest(low, high, lambda context: self.placements(same(context), fresh) is not None))
        if len(contexts) < 2:
            return contexts
        for name in contexts:

            def alone(context: int, name: str = name) -> bool:
                return self.placements(dict(contexts, **{name: context}), fresh) is not None

            contexts[name] = _largest(contexts[name], self.highest[name], alone)
        return contexts

    def kept(self, contexts: Contexts, host: Host, fresh: Host) -> Contexts:
        """The contexts, with those in force instead where they fit and the others would hardly take more memory."""
        applied = {name: host.applied.context_length(name) for name in contexts}
        running = {name: tokens for name, tokens in applied.items() if tokens and tokens <= self.highest[name]}
        everything = dict(contexts, **running)
        before = self.placements(everything, host) if running else None
        if before:
            larger = any(contexts[name] > tokens * (1 + KEEP_CONTEXT) for name, tokens in running.items())
            after = self.placements(contexts, fresh) if larger else None
            return contexts if after and _much_more(before, after) else everything
        contexts = dict(contexts)
        for name, tokens in sorted(running.items()):
            if contexts[name] <= tokens * (1 + KEEP_CONTEXT):
                if self.placements(dict(contexts, **{name: tokens}), host) is not None:
                    contexts[name] = tokens
        return contexts

    def placements(self, contexts: Contexts, host: Host) -> Optional[Placements]:
        """Placements of each model with these contexts on the GPUs that it has, or None where they do not all fit."""
        trial = host.copy()
        for choice in self.growing:
            for old in choice.placements:
                trial.give_back(old)
        found: Placements = {}
        for choice in self.growing:
            name = choice.wanted.create_as
            placements = []
            for old in choice.placements:
                placed = candidate_placements.fits(choice.wanted, old.gpus, trial, self.fitting, contexts[name])
                if not placed:
                    return None
                placed = dataclasses.replace(placed, outcome=old.outcome)
                trial.take(placed)
                placements.append(placed)
            found[name] = tuple(placements)
        return found


def _much_more(before: Placements, after: Placements) -> bool:
    """Whether placements take clearly more memory than others on any GPU."""
    shares = _shares(before)
    return any(share > shares.get(uuid, 0) + KEEP_SPLIT for uuid, share in _shares(after).items())


def _shares(placements: Placements) -> dict[str, float]:
    """{UUID: share of the GPU's memory that the placements take}."""
    shares: dict[str, float] = {}
    for placed in [placed for several in placements.values() for placed in several]:
        for device in placed.predicted.devices:
            share = device.total_bytes / float(device.gpu.total_bytes)
            shares[device.gpu.uuid] = shares.get(device.gpu.uuid, 0) + share
    return shares


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest context from `low` (which fits) to `high` that fits: a multiple of the step, or one of the two."""
    if low >= high or fits(high):
        return max(low, high)
    least, most, best = low // CONTEXT_STEP + 1, (high - 1) // CONTEXT_STEP, low
    while least <= most:
        middle = (least + most) // 2
        if fits(middle * CONTEXT_STEP):
            best, least = middle * CONTEXT_STEP, middle + 1
        else:
            most = middle - 1
    return best
