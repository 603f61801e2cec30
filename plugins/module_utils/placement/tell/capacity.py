# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Requests at the same time: more instances of a model (replicas) against more slots of one instance (parallel)."""

from __future__ import annotations

from ..search import ways

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

    def fits(parallel):
        """Whether every instance has room for so many slots where it is."""
        changed = dict(wanted, parallel=parallel)
        return all(
            ways.fits(changed, placed["gpus"], trial, fitting, placed["predicted"]["context_length"])
            for placed in choice["placements"]
        )

    most = wanted["parallel"]
    cached = [sum(device["kv_bytes"] for device in placed["predicted"]["devices"]) for placed in choice["placements"]]
    spare = min(
        sum(trial.free(placed["gpus"])) - sum(device["total_bytes"] for device in placed["predicted"]["devices"])
        for placed in choice["placements"]
    )
    # A slot takes its KV cache and a little more: from the number that the cache alone would allow it is not far.
    guess = most + int(spare // max(1, cached[0] // most))
    for parallel in range(min(guess, MOST_SLOTS), most if not wanted["serial"] else MOST_SLOTS, -1):
        if fits(parallel):
            most = parallel
            break
    return {
        "instances": len(choice["placements"]),
        "parallel": wanted["parallel"],
        "slots": len(choice["placements"]) * wanted["parallel"],
        "slot_bytes": cached[0] // wanted["parallel"],
        "most_parallel": most,
    }
