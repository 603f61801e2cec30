# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs each model of a host goes to. The order in which GPUs and models are listed does not matter."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence

from ..ask.model_settings import DEFAULT_CONTEXT
from ..shapes import SINGLE, SPLIT, Choice, Placed, Wanted
from . import candidate_placements, contexts, resident
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
        choices = resident.place_together(tried, host, fitting, tries, all_or_none)
        if choices and all(choice.placements for choice in choices):
            break
    if choices is None:
        return None, host
    # By name, so that the order in which the models are listed does not matter.
    by_name = sorted(choices, key=lambda choice: choice.wanted.create_as)
    by_name = [_replicated(choice, host, fitting) for choice in by_name]
    by_name = contexts.grown(by_name, host, fitting)
    done = {choice.wanted.create_as: _pinned(choice, host, fitting) for choice in by_name}
    return [done[one.create_as] for one in wanted], host


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
    """The choice with batch and layers set by the plan where several models share GPUs.

    Otherwise both would depend on which model is loaded first: the engine splits by the memory that is free when it
    loads, and Ollama chooses the batch by it.
    """
    if not fitting.release.layers_can_be_set:
        return choice
    placements = tuple(_pinned_placement(choice.wanted, placed, host) for placed in choice.placements)
    return dataclasses.replace(choice, placements=placements)


def _pinned_placement(wanted: Wanted, placed: Placed, host: Host) -> Placed:
    if not placed.on_gpus_only or not any(host.model_count(gpu) > 1 for gpu in placed.gpus):
        return placed
    split = placed.outcome == SPLIT and all(placed.predicted.layers) and not wanted.allow_cpu_offload
    return dataclasses.replace(
        placed,
        batch=placed.batch if wanted.ubatch else placed.predicted.ubatch,
        split_is_set=placed.split_is_set or split,
    )
