# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Requests at the same time: more instances of a model (replicas) against more slots of one instance (parallel)."""

from __future__ import annotations

import dataclasses
from typing import Optional

from ..search import candidate_placements
from ..search.fitting import Fitting
from ..search.host import Host
from ..shapes import Choice

MOST_SLOTS = 64


def capacity(choice: Choice, host: Host, fitting: Fitting) -> Optional[dict[str, int]]:
    """How many requests a model serves at once, and what more of them would cost.

    Args:
        choice: of the model.
        host: the Host with all models on it.
        fitting: what a model takes.

    Returns:
        dict: `instances`, `parallel` (slots of each), `slots` (in all), `slot_bytes` (what one more slot takes on the
        GPUs of one instance), `most_parallel` (slots that each instance could have on its GPUs). None for a model that
        has no place, or layers on the CPU.
    """
    wanted, placements = choice.wanted, choice.placements
    if not placements or not placements[0].on_gpus_only:
        return None
    trial = host.copy()
    if wanted.resident:
        trial = host.beside_on_demand(host.on_demand)
        for placed in placements:
            trial.give_back(placed)

    def fits(parallel: int) -> bool:
        """Whether every instance has room for so many slots where it is."""
        changed = dataclasses.replace(wanted, parallel=parallel)
        return all(
            candidate_placements.fits(changed, placed.gpus, trial, fitting, placed.predicted.context_length)
            for placed in placements
        )

    most = wanted.parallel
    slot_bytes = sum(device.kv_bytes for device in placements[0].predicted.devices) // wanted.parallel
    spare = min(
        sum(room.room_bytes for room in trial.rooms(placed.gpus)) - placed.predicted.total_bytes
        for placed in placements
    )
    # A slot takes its KV cache and a little more: the number that fits is not far below what the cache alone allows.
    guess = most + int(spare // max(1, slot_bytes))
    for parallel in range(min(guess, MOST_SLOTS), MOST_SLOTS if wanted.one_at_a_time else most, -1):
        if fits(parallel):
            most = parallel
            break
    return {
        "instances": len(placements),
        "parallel": wanted.parallel,
        "slots": len(placements) * wanted.parallel,
        "slot_bytes": slot_bytes,
        "most_parallel": most,
    }
