# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs each model of a host goes to. The order in which GPUs and models are listed does not matter."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence

from ..ask.model_settings import DEFAULT_CONTEXT
from ..shapes import SINGLE, Choice, Wanted
from . import candidate_placements, contexts, on_demand, resident
from .fitting import Fitting
from .host import Host

LEAST_CONTEXT = 2048  # tokens; a smaller context is of little use
# Contexts to place a model with before its context grows.
STARTS = (DEFAULT_CONTEXT, DEFAULT_CONTEXT // 2, LEAST_CONTEXT)


def choose(
    wanted: Sequence[Wanted], empty: Host, fitting: Fitting, tries: int = resident.MOST_TRIES, all_or_none: bool = False
) -> tuple[Optional[list[Choice]], Host]:
    """Place all models of a host.

    Args:
        wanted: the models.
        empty: the host without any of them; it is not changed.
        fitting: what a model takes.
        tries: ways to place all models together that are tried before the host counts as too small.
        all_or_none: whether to give up, quickly, where not every model has all its layers on GPUs.

    Returns:
        (the choices in the order of `wanted`, or None where `all_or_none` gives up; the host with all of them on it).
    """
    host, choices = empty.copy(), None
    for tried in _starts(wanted):
        host = empty.copy()
        choices = _placed(tried, host, fitting, tries, all_or_none)
        if choices and all(choice.placements for choice in choices):
            break
    if choices is None:
        return None, host
    done = {choice.wanted.create_as: choice for choice in _finished(choices, host, fitting)}
    return [done[one.create_as] for one in wanted], host


def _placed(
    wanted: Sequence[Wanted], host: Host, fitting: Fitting, tries: int, all_or_none: bool
) -> Optional[list[Choice]]:
    """Choices for all models, the host filled with them: first those that stay loaded, then those on demand."""
    residents, others = on_demand.both(wanted)
    choices: Optional[list[Choice]] = []
    if residents:
        choices = resident.place_together(residents, host, fitting, tries, all_or_none, len(wanted) == 1)
    if choices is None or not others:
        return choices
    # By name, so that the order in which the models are listed does not matter.
    choices = [_replicated(choice, host, fitting) for choice in sorted(choices, key=lambda one: one.wanted.create_as)]

    found = on_demand.place(others, host, fitting)
    if all_or_none and not all(choice.placements for choice in found):
        return None
    return choices + found


def _finished(choices: Sequence[Choice], host: Host, fitting: Fitting) -> list[Choice]:
    """The choices with all instances, the largest contexts, and what the plan sets."""
    staying = [choice for choice in choices if choice.wanted.resident]
    # By name, so that the order in which the models are listed does not matter.
    by_name = sorted(staying, key=lambda choice: choice.wanted.create_as)
    if len(staying) == len(choices):
        by_name = [_replicated(choice, host, fitting) for choice in by_name]
    by_name = _grown(by_name, host, fitting)
    done = [_pinned(choice, host, fitting) for choice in by_name]
    return done + _on_demand([choice for choice in choices if not choice.wanted.resident], host, fitting)


def _on_demand(choices: list[Choice], host: Host, fitting: Fitting) -> list[Choice]:
    """The models on demand with the largest contexts that fit beside the resident ones, whose contexts go first."""
    if not any(choice.wanted.auto_context and choice.placements for choice in choices):
        return choices
    before, host.on_demand = host.on_demand, ()
    found = on_demand.place([choice.wanted for choice in choices], host, fitting, grow=True)
    if all(new.placements or not old.placements for old, new in zip(choices, found)):
        return found
    host.on_demand = before
    return choices


def _grown(choices: Sequence[Choice], host: Host, fitting: Fitting) -> list[Choice]:
    """The choices with the largest contexts that leave the models on demand their memory; the host is changed."""
    beside = host.beside_on_demand(host.on_demand)
    found = contexts.grown(choices, beside, fitting)
    for before, after in zip(choices, found):
        for placed in before.placements:
            host.give_back(placed)
        for placed in after.placements:
            host.take(placed)
    return found


def _starts(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """The models with the contexts to try.

    Where a context is chosen automatically, these are the default, and less for the case that this does not fit.
    """
    if not any(one.auto_context for one in wanted):
        return [list(wanted)]
    return [[_with_start(one, start) for one in wanted] for start in STARTS]


def _with_start(wanted: Wanted, start: int) -> Wanted:
    if not wanted.auto_context:
        return wanted
    return dataclasses.replace(wanted, context_length=min(start, wanted.facts.context_length or 0))


def _replicated(choice: Choice, host: Host, fitting: Fitting) -> Choice:
    """The choice with the further instances of the model, one a GPU, as many as are asked for and fit."""
    wanted, placements = choice.wanted, list(choice.placements)
    if choice.strategy not in ("replicate", "single") or not placements or placements[0].outcome != SINGLE:
        return choice
    if choice.strategy == "single" and (wanted.replicas or 1) == 1:
        return choice
    while len(placements) < (wanted.replicas or len(host.gpus)):
        used = [uuid for placed in placements for uuid in placed.uuids]
        placed = next(candidate_placements.singles(wanted, host, fitting, used), None)
        if placed is None:
            break
        host.take(placed)
        placements.append(placed)
    placements.sort(key=lambda placed: host.position[placed.uuids[0]])
    return dataclasses.replace(choice, placements=tuple(placements))


def _pinned(choice: Choice, host: Host, fitting: Fitting) -> Choice:
    """The choice with batch and layers set by the plan where several models share GPUs."""
    placements = tuple(on_demand.pinned(choice.wanted, placed, host, fitting) for placed in choice.placements)
    return dataclasses.replace(choice, placements=placements)
