# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Several models on one host at the same time: a place for each that leaves a place for the others."""

from __future__ import annotations

from ...common.sizes import gib
from ..ask.applied import KEEP_SHARE
from ..ask.request import AUTO
from . import ways
from .host import Host

# Ways that are tried before a host counts as too small for its models, and ways to spread them more evenly.
MOST_TRIES = 400
MOST_EVENINGS = 300


class _Tries:
    """How many ways may still be tried."""

    def __init__(self, most):
        self.left = most

    def one_more(self):
        self.left -= 1
        return self.left >= 0


def place_together(wanted, host, fitting, alone, tries=MOST_TRIES, all_or_none=False):
    """Place the models on the host (which is changed): list of choices in the order of `wanted`.

    The largest and those that need several GPUs go first, each to its best way; if that leaves no room for a later one,
    the next ways of the earlier ones are tried. Layers on the CPU, where allowed, come after all that. With `all_or_none`
    None where not every model has all its layers on GPUs.
    """
    order = sorted(wanted, key=lambda one: _order(one, host, fitting))
    found = None if _too_much(order, host, fitting) else _best(order, host, fitting, alone, tries)
    if found is None and all_or_none:
        return None
    if found is None:
        found = [_place(one, host, fitting, alone) for one in order]
    else:
        for choice in found:
            host.take(choice["placements"][0])
    by_name = {choice["wanted"]["served"]: choice for choice in found}
    return [by_name[one["served"]] for one in wanted]


def _order(wanted, host, fitting):
    """Sets before single GPUs, large before small, then by name."""
    size = fitting.bare_bytes(wanted, ways.planned_context(wanted))
    if wanted["strategy"] == "spread":
        rank = 0
    elif wanted["strategy"] == "split" or (
        wanted["strategy"] == AUTO and next(ways.singles(wanted, host, fitting), None) is None
    ):
        rank = 1
    else:
        rank = 2
    return (rank, -size, wanted["served"])


def _too_much(order, host, fitting):
    """Whether weights and KV cache alone are more than all GPUs have left, so that no search is needed."""
    return sum(fitting.bare_bytes(one, ways.planned_context(one)) for one in order) > sum(host.left.values())


def _best(order, host, fitting, alone, tries):
    """Choices for all models with all layers on GPUs: what runs stays where it is unless moving it is worth it. None if no
    way is found."""
    kept = running = None
    if host.applied.places:
        running = host.copy()
        kept = _search(order, running, fitting, alone, _Tries(tries), stay=True)
        if kept is None:
            return _search(order, host.copy(), fitting, alone, _Tries(tries))
    # As if nothing ran: what is kept has no claim to a part of its headroom elsewhere.
    fresh = Host(host.gpus, host.topology)
    found = _search(order, fresh, fitting, alone, _Tries(tries))
    if found and not kept:
        _even_out(found, fresh, fitting)
    return found if kept is None or (found and _worth_moving(kept, running, found, fresh)) else kept


def _worth_moving(kept, running, found, fresh):
    """Whether another placement needs fewer GPUs in all (and is roomy enough to last), or with as many leaves clearly more
    on the fullest GPU."""
    pairs = [(old["placements"][0], new["placements"][0]) for old, new in zip(kept, found)]
    fewer = [new for old, new in pairs if len(new["gpus"]) < len(old["gpus"])]
    before, after = (sum(len(pair[side]["gpus"]) for pair in pairs) for side in (0, 1))
    if after < before:
        return all(ways.roomy(placed) for placed in fewer)
    return after == before and fresh.fullest() > running.fullest() + KEEP_SHARE


def _search(order, host, fitting, alone, tries, stay=False):
    """Choices for all models with all layers on GPUs, the host filled with them; None if no way is found. With `stay`
    models that run are only put where they run."""
    if not order:
        return []
    serving = host.applied.sets(order[0]["served"]) if stay else []
    for strategy, reason, placed in ways.all_ways(order[0], host, fitting, alone):
        if not tries.one_more():
            return None
        if serving and [gpu["uuid"] for gpu in placed["gpus"]] not in serving:
            continue
        choice = _choice(order[0], strategy, placed, reason)
        host.take(placed)
        others = _search(order[1:], host, fitting, alone, tries, stay)
        if others is not None:
            return [choice] + others
        host.give_back(placed)
    return None


def _place(wanted, host, fitting, alone):
    """The best way of one model on what is left, layers on the CPU among them; without one, why not."""
    for strategy, reason, placed in ways.all_ways(wanted, host, fitting, alone):
        host.take(placed)
        return _choice(wanted, strategy, placed, reason)
    strategy = wanted["strategy"]
    if strategy == AUTO:
        strategy = "split" if len(host.joinable()) > 1 else "single"
    if wanted["allow_cpu_offload"]:
        placed = ways.offload(wanted, host, fitting)
        host.take(placed)
        why = (
            "num_gpu %d leaves layers on the CPU" % wanted["num_gpu"]
            if ways.leaves_layers(wanted)
            else "the GPUs do not hold it"
        )
        return _choice(wanted, strategy, placed, "%s, and layers on the CPU are allowed" % why)
    attempt = ways.closest(wanted, host, fitting)
    missing = attempt["shortfall_bytes"] if attempt else None
    return {
        "wanted": wanted,
        "strategy": strategy,
        "reason": "",
        "placements": [],
        "shortfall_bytes": missing,
        "attempt": attempt,
    }


def _choice(wanted, strategy, placed, reason):
    placed.setdefault("outcome", "split" if len(placed["gpus"]) > 1 else "single")
    return {
        "wanted": wanted,
        "strategy": strategy,
        "reason": "%s: %s" % (_needs(placed), reason),
        "placements": [placed],
        "shortfall_bytes": None,
        "attempt": None,
    }


def _needs(placed):
    devices = placed["predicted"]["devices"]
    if not devices:
        return "no GPU"
    return "%s on %s" % (
        gib(sum(device["total_bytes"] for device in devices)),
        "1 GPU" if len(devices) == 1 else "%d GPUs" % len(devices),
    )


def _even_out(choices, host, fitting):
    """Move models between single GPUs so that the fullest GPU is as empty as possible; not those that are to be spread, which
    are on one GPU only because no other can be part of a set: a later plan would not look for them elsewhere."""
    moving = [
        choice
        for choice in choices
        if choice["placements"][0]["outcome"] == "single" and choice["strategy"] != "spread"
    ]
    if len(moving) < 2 or len(host.open()) < 2:
        return
    least = host.fullest() + 1e-9
    for choice in moving:
        host.give_back(choice["placements"][0])
    best = _evenest(moving, host, fitting, least, _Tries(MOST_EVENINGS))
    for number, choice in enumerate(moving):
        if best:
            choice["placements"] = [dict(best[1][number], outcome="single")]
        host.take(choice["placements"][0])


def _evenest(moving, host, fitting, least, tries):
    """(share left on the fullest GPU, placements) of the best assignment with more than `least`, or None."""
    if not moving:
        left = host.fullest()
        return (left, []) if left > least else None
    best = None
    for placed in ways.singles(moving[0]["wanted"], host, fitting):
        if not tries.one_more():
            break
        host.take(placed)
        if host.fullest() > least:
            found = _evenest(moving[1:], host, fitting, least, tries)
            if found:
                best = (found[0], [placed] + found[1])
                least = found[0]
        host.give_back(placed)
    return best
