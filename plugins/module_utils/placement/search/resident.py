# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Several models on one host at the same time: a place for each that leaves a place for the others."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ...common.sizes import gib
from ..ask.applied import KEEP_SHARE
from ..shapes import AUTO, SINGLE, Choice, Placed, Wanted
from . import candidate_placements
from .fitting import Fitting
from .host import Host

# Ways that are tried before a host counts as too small for its models, and ways to spread them more evenly.
MOST_TRIES = 400
MOST_EVENINGS = 300


class _Search:
    """A search that ends after a number of tries.

    Args:
        fitting: what a model takes.
        alone: whether there is only one model.
        tries: how many ways may be tried.
        stay: whether models that run are only put where they run.
    """

    def __init__(self, fitting: Fitting, alone: bool, tries: int, stay: bool = False) -> None:
        self.fitting = fitting
        self.alone = alone
        self.tries_left = tries
        self.stay = stay

    def one_more(self) -> bool:
        """Count a try; whether it may still be made."""
        self.tries_left -= 1
        return self.tries_left >= 0


def place_together(
    wanted: Sequence[Wanted],
    host: Host,
    fitting: Fitting,
    tries: int = MOST_TRIES,
    all_or_none: bool = False,
    alone: Optional[bool] = None,
) -> Optional[list[Choice]]:
    """Place the models on the host, which is changed.

    The largest and those that need several GPUs go first, each to its best way; if that leaves no room for a later one,
    the next ways of the earlier ones are tried. Layers on the CPU, where allowed, come after all that.

    Args:
        tries: ways to place all models together that are tried before the host counts as too small.
        all_or_none: whether to return None where not every model has all its layers on GPUs.
        alone: whether the host has no other model; None = as many as are listed here.

    Returns:
        the choices in the order of `wanted`.
    """
    alone = len(wanted) == 1 if alone is None else alone
    order = sorted(wanted, key=lambda one: _order(one, host, fitting))
    found = None if _too_much(order, host, fitting) else _best(order, host, _Search(fitting, alone, tries))
    if found is not None:
        for choice in found:
            host.take(choice.placements[0])
    elif all_or_none:
        return None
    else:
        found = [place_one(one, host, fitting, alone) for one in order]
    by_name = {choice.wanted.create_as: choice for choice in found}
    return [by_name[one.create_as] for one in wanted]


def _order(wanted: Wanted, host: Host, fitting: Fitting) -> tuple[Any, ...]:
    """Sort key: sets before single GPUs, large before small, then by name."""
    size = fitting.bare_bytes(wanted, wanted.context_length)
    if wanted.strategy == "spread":
        rank = 0
    elif wanted.strategy == "split" or (
        wanted.strategy == AUTO and next(candidate_placements.singles(wanted, host, fitting), None) is None
    ):
        rank = 1
    else:
        rank = 2
    return (rank, -size, wanted.create_as)


def _too_much(order: Sequence[Wanted], host: Host, fitting: Fitting) -> bool:
    """Whether weights and KV cache alone are more than all GPUs have left, so that no search is needed."""
    return sum(fitting.bare_bytes(one, one.context_length) for one in order) > sum(host.left.values())


def _best(order: Sequence[Wanted], host: Host, search: _Search) -> Optional[list[Choice]]:
    """Choices for all models with all layers on GPUs; None if no way is found.

    What runs stays where it is unless moving it gains enough.
    """
    fitting, alone, tries = search.fitting, search.alone, search.tries_left
    kept = running = None
    if host.applied.places:
        running = host.copy()
        kept = _search(order, running, _Search(fitting, alone, tries, stay=True))
        if kept is None:
            return _search(order, host.copy(), search)
    # As if nothing ran, because only a model that stays where it runs may use a part of its headroom.
    fresh = Host(host.gpus, host.topology, memory=host.memory)
    found = _search(order, fresh, search)
    if kept is None or running is None:
        return _evened_out(found, fresh, fitting) if found else found
    return found if found and _worth_moving((kept, running), (found, fresh)) else kept


def _worth_moving(now: tuple[list[Choice], Host], then: tuple[list[Choice], Host]) -> bool:
    """Whether another placement needs fewer GPUs in all, or with as many leaves clearly more on the fullest GPU.

    Where it needs fewer, the models that lose a GPU must have enough memory to stay there.

    Args:
        now, then: the choices and the Host with them.
    """
    later = {choice.wanted.create_as: choice.placements[0] for choice in then[0]}
    pairs = [(choice.placements[0], later[choice.wanted.create_as]) for choice in now[0]]
    fewer = [new for old, new in pairs if len(new.gpus) < len(old.gpus)]
    before = sum(len(old.gpus) for old, dummy in pairs)
    after = sum(len(new.gpus) for dummy, new in pairs)
    if after < before:
        return all(candidate_placements.has_reserve(placed) for placed in fewer)
    return after == before and then[1].least_share_left() > now[1].least_share_left() + KEEP_SHARE


def _search(order: Sequence[Wanted], host: Host, search: _Search) -> Optional[list[Choice]]:
    """Choices for all models with all layers on GPUs, the host filled with them; None if no way is found."""
    if not order:
        return []
    serving = host.applied.gpu_sets(order[0].create_as) if search.stay else []
    for way in candidate_placements.all_ways(order[0], host, search.fitting, search.alone):
        if not search.one_more():
            return None
        if serving and way.placed.uuids not in serving:
            continue
        host.take(way.placed)
        others = _search(order[1:], host, search)
        if others is not None:
            return [_choice(order[0], way)] + others
        host.give_back(way.placed)
    return None


def place_one(wanted: Wanted, host: Host, fitting: Fitting, alone: bool) -> Choice:
    """The best way of one model on what is left, layers on the CPU among them; without one, why not.

    Args:
        alone: whether it is the only model of the host, which is filled with it.
    """
    way = next(candidate_placements.all_ways(wanted, host, fitting, alone), None)
    strategy = wanted.strategy
    if strategy == AUTO:
        strategy = "split" if len(host.joinable()) > 1 else "single"
    if way is None and wanted.allow_cpu_offload:
        why = (
            "num_gpu %d leaves layers on the CPU" % (wanted.num_gpu or 0)
            if candidate_placements.leaves_layers(wanted)
            else "the GPUs do not hold it"
        )
        placed = candidate_placements.offload(wanted, host, fitting)
        if placed.shortfall_bytes:
            return Choice(wanted, strategy, attempt=placed)
        way = candidate_placements.Way(strategy, "%s, and allow_cpu_offload permits that" % why, placed)
    if way is None:
        return Choice(wanted, strategy, attempt=candidate_placements.closest(wanted, host, fitting))
    host.take(way.placed)
    return _choice(wanted, way)


def _choice(wanted: Wanted, way: candidate_placements.Way) -> Choice:
    reason = "%s: %s" % (_needs(way.placed), way.reason)
    return Choice(wanted, way.strategy, reason, placements=(way.placed,))


def _needs(placed: Placed) -> str:
    count = len(placed.predicted.devices)
    if not count:
        return "no GPU"
    return "%s on %s" % (gib(placed.predicted.total_bytes), "1 GPU" if count == 1 else "%d GPUs" % count)


def _evened_out(choices: list[Choice], host: Host, fitting: Fitting) -> list[Choice]:
    """The choices with models moved between single GPUs so that the fullest GPU is as empty as possible.

    Models that are to be spread do not move: they are on one GPU only because no other can be part of a set, and a
    later plan would not look for them elsewhere.
    """
    moving = [choice for choice in choices if choice.placements[0].outcome == SINGLE and choice.strategy != "spread"]
    if len(moving) < 2 or len(host.open()) < 2:
        return choices
    least = host.least_share_left() + 1e-9
    for choice in moving:
        host.give_back(choice.placements[0])
    best = _evenest(moving, host, least, _Search(fitting, False, MOST_EVENINGS))
    evened = best[1] if best else {choice.wanted.create_as: choice.placements[0] for choice in moving}
    for placed in evened.values():
        host.take(placed)
    return [
        dataclasses.replace(choice, placements=(evened.get(choice.wanted.create_as, choice.placements[0]),))
        for choice in choices
    ]


def _evenest(
    moving: Sequence[Choice], host: Host, least: float, search: _Search
) -> Optional[tuple[float, dict[str, Placed]]]:
    """(share left on the fullest GPU, {create_as: placement}) of the best assignment, or None.

    Args:
        least: the share that must be left on the fullest GPU.
    """
    if not moving:
        left = host.least_share_left()
        return (left, {}) if left > least else None
    best = None
    for placed in candidate_placements.singles(moving[0].wanted, host, search.fitting):
        if not search.one_more():
            break
        host.take(placed)
        if host.least_share_left() > least:
            found = _evenest(moving[1:], host, least, search)
            if found:
                best = (found[0], dict(found[1], **{moving[0].wanted.create_as: placed}))
                least = found[0]
        host.give_back(placed)
    return best
