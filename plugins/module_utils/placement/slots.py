# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Requests at the same time: more instances of a model (replicas) against more slots of one instance (parallel)."""

from __future__ import annotations

from . import ways

MOST_SLOTS = 64


def capacity(choice, host, fitting):
    """How many requests a model serves at once, and what more of them would cost.

    Args:
        choice: what policy.choose returned for the model.
        host: the Host with all models on it.

    Returns:
        dict: `instances`, `parallel` (slots of each), `slots` (in all), `slot_bytes` (what one more slot takes on the GPUs
        of one instance), `most_parallel` (slots that each instance could have where it is). None without a place on GPUs.
    """
    wanted = choice["wanted"]
    if not choice["placements"] or choice["placements"][0]["outcome"] in ("partial", "cpu"):
        return None
    trial = host.copy()
    for placed in choice["placements"]:
        trial.give_back(placed)

    def held(parallel):
        """Bytes of each instance with so many slots, or None where one does not fit."""
        totals = []
        for placed in choice["placements"]:
            changed = dict(wanted, parallel=parallel)
            again = ways.place(changed, placed["gpus"], trial, fitting, placed["predicted"]["context_length"])
            if again["shortfall_bytes"]:
                return None
            totals.append(sum(device["total_bytes"] for device in again["predicted"]["devices"]))
        return totals

    most = wanted["parallel"]
    low, high = most + 1, 0 if wanted["serial"] else MOST_SLOTS
    while low <= high:
        middle = (low + high) // 2
        if held(middle):
            most, low = middle, middle + 1
        else:
            high = middle - 1
    cached = [sum(device["kv_bytes"] for device in placed["predicted"]["devices"]) for placed in choice["placements"]]
    return {
        "instances": len(choice["placements"]),
        "parallel": wanted["parallel"],
        "slots": len(choice["placements"]) * wanted["parallel"],
        "slot_bytes": cached[0] // wanted["parallel"],
        "most_parallel": most,
    }
