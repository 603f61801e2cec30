# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models on demand (resident: false): a place beside the resident models, where one of them is loaded at a time.

A server evicts whatever is loaded when another model needs its memory or its slot (OLLAMA_MAX_LOADED_MODELS), also one
that is kept for ever (server/sched.go `findRunnerToUnload`). It cannot evict a model of another server. So models on
demand get an instance of their own. With OLLAMA_MAX_LOADED_MODELS=1 they evict each other there, and with a finite
OLLAMA_KEEP_ALIVE they go by themselves. Their memory is what the residents leave; of an instance that of the largest.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ...common.names import key_of
from ..shapes import AUTO, SINGLE, SPLIT, Choice, Placed, Wanted
from . import candidate_placements, confirm, contexts, resident
from .fitting import Fitting
from .host import Host, Taken, taken_of_host

Key = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class _Group:
    """Models that share an instance: its GPUs and settings, the models and their placements."""

    key: Key
    wanted: tuple[Wanted, ...]
    placements: tuple[Placed, ...]

    @property
    def taken(self) -> Taken:
        """What the largest takes, GPU by GPU."""
        sizes: dict[str, int] = {}
        for placed in self.placements:
            for device in placed.predicted.devices:
                sizes[device.gpu.uuid] = max(sizes.get(device.gpu.uuid, 0), device.total_bytes)
        return Taken(sizes, max(taken_of_host(placed) for placed in self.placements))


def place(wanted: Sequence[Wanted], host: Host, fitting: Fitting, grow: bool = False) -> list[Choice]:
    """Place models on demand beside what the host holds, each where an instance has room for it already, if it can.

    `host.on_demand` then has what they take.

    Args:
        wanted: the models.
        host: the Host with the resident models on it.
        fitting: what a model takes.
        grow: whether contexts that are chosen automatically become the largest that fit, once all have a place.

    Returns:
        the choices in the order of `wanted`.
    """
    groups: list[_Group] = []
    choices = {}
    for one in sorted(wanted, key=lambda one: (-fitting.bare_bytes(one, one.context_length), one.create_as)):
        choice, group = _joined(one, groups, host, fitting)
        if choice is None:
            trial = host.beside_on_demand([other.taken for other in groups])
            choice = resident.place_one(one, trial, fitting, False)
            choice = dataclasses.replace(
                choice, placements=tuple(pinned(one, placed, trial, fitting) for placed in choice.placements)
            )
        for placed in choice.placements:
            if group:
                groups.remove(group)
            members, kept = (group.wanted, group.placements) if group else ((), ())
            groups.append(_Group(_key(one, placed, fitting), (*members, one), (*kept, placed)))
        choices[one.create_as] = choice
    for group in [group for group in groups if grow and group.wanted[0].auto_context and len(group.wanted) == 1]:
        name = group.wanted[0].create_as
        others = [other for other in groups if other is not group]
        choices[name] = _grown(choices[name], host.beside_on_demand([other.taken for other in others]), fitting)
        groups = [*others, dataclasses.replace(group, placements=choices[name].placements)]
    host.on_demand = tuple(group.taken for group in groups)
    return [choices[one.create_as] for one in wanted]


def _grown(choice: Choice, beside: Host, fitting: Fitting) -> Choice:
    """A model alone in its instance with the largest context that fits.

    Args:
        choice: of the model.
        beside: the host without it.
        fitting: what a model takes.
    """
    for placed in choice.placements:
        beside.take(placed)
    (found,) = contexts.grown([choice], beside, fitting)
    placements = tuple(pinned(choice.wanted, placed, beside, fitting) for placed in found.placements)
    return dataclasses.replace(found, placements=placements)


def _joined(
    wanted: Wanted, groups: Sequence[_Group], host: Host, fitting: Fitting
) -> tuple[Optional[Choice], Optional[_Group]]:
    """(choice, group) of a model that fits an instance of models on demand and has its settings; else (None, None)."""
    if wanted.auto_context or candidate_placements.leaves_layers(wanted):
        return None, None
    for group in groups:
        gpus = group.placements[0].gpus
        if not gpus or not _suits(wanted, group.placements[0]):
            continue
        if any(cannot_share(wanted, other) for other in group.wanted):
            continue  # as the instance cannot have both
        trial = host.beside_on_demand([other.taken for other in groups if other is not group])
        placed = candidate_placements.fits(wanted, gpus, trial, fitting)
        if placed is None:
            continue
        trial.take(placed)
        placed = pinned(wanted, placed, trial, fitting)
        if _key(wanted, placed, fitting) == group.key:
            reason = "it shares the memory that the resident models leave with other models on demand"
            return Choice(wanted, "split" if len(gpus) > 1 else "single", reason, (placed,)), group
    return None, None


def _suits(wanted: Wanted, placed: Placed) -> bool:
    """Whether a strategy allows the GPUs of a placement."""
    return wanted.strategy == AUTO or placed.outcome == {"single": SINGLE, "split": SPLIT}.get(wanted.strategy)


def _key(wanted: Wanted, placed: Placed, fitting: Fitting) -> Key:
    settings = confirm.settings_of(wanted, placed, fitting.release, False)
    return (placed.uuids, placed.outcome, tuple(sorted(settings.items())))


def pinned(wanted: Wanted, placed: Placed, host: Host, fitting: Fitting) -> Placed:
    """A placement with batch and layers set by the plan where several models share GPUs.

    Otherwise both would depend on which model is loaded first: the engine splits by the memory that is free when it
    loads, and Ollama chooses the batch by it.
    """
    if not fitting.release.layers_can_be_set:
        return placed
    if not placed.on_gpus_only or not any(host.model_count(gpu) > 1 for gpu in placed.gpus):
        return placed
    split = placed.outcome == SPLIT and all(placed.predicted.layers) and not wanted.allow_cpu_offload
    return dataclasses.replace(
        placed,
        batch=placed.batch if wanted.ubatch else placed.predicted.ubatch,
        split_is_set=placed.split_is_set or split,
    )


def cannot_share(one: Wanted, other: Wanted) -> bool:
    """Whether two models cannot be in one instance: they are made from the same one, or one has a name of the other."""
    same_digest = one.facts.digest is not None and one.facts.digest == other.facts.digest
    return same_digest or not _names(one).isdisjoint(_names(other))


def _names(wanted: Wanted) -> set[str]:
    """The names that clients may use for a model."""
    return {key_of(name) for name in (wanted.name, wanted.create_as) if name}


def both(wanted: Sequence[Wanted]) -> tuple[list[Wanted], list[Wanted]]:
    """The models that stay loaded, and those on demand."""
    return [one for one in wanted if one.resident], [one for one in wanted if not one.resident]
