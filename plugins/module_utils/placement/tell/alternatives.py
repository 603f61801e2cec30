# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The ways that were not taken, with their numbers."""

from __future__ import annotations

from ...common.sizes import gib
from ..search import ways


def alternatives(choice, host, fitting):
    """Other ways to place a model, beside the other models of the host.

    Args:
        choice: what policy.choose returned for the model.
        host: the Host with the other models on it.

    Returns:
        list of {strategy, gpu_uuids, total_bytes, shortfall_bytes, reason} (bytes on all GPUs of one instance; 0 missing
        = it would fit as well).
    """
    wanted = choice["wanted"]
    attempts = [("single", placed) for placed in [ways.emptiest_single(wanted, host, fitting)] if placed]
    if len(host.joinable()) > 1:
        attempts.append(("split", ways.closest_split(wanted, host, fitting)))
        if len(host.joinable()) > 2:
            attempts.append(("spread", ways.spread(wanted, host, fitting)))
    taken = [sorted(gpu["uuid"] for gpu in placed["gpus"]) for placed in choice["placements"]]
    found = []
    for strategy, placed in attempts:
        uuids = [gpu["uuid"] for gpu in placed["gpus"]]
        if sorted(uuids) in taken or any(entry["gpu_uuids"] == uuids for entry in found):
            continue
        found.append(
            {
                "strategy": strategy,
                "gpu_uuids": uuids,
                "total_bytes": sum(device["total_bytes"] for device in placed["predicted"]["devices"]),
                "shortfall_bytes": placed["shortfall_bytes"],
                "reason": _reason(choice, strategy, placed),
            }
        )
    return found


def _reason(choice, strategy, placed):
    if placed.get("refusal"):
        return (
            placed["refusal"][0].lower() + placed["refusal"][1:]
            if placed["refusal"].startswith("It ")
            else placed["refusal"]
        )
    if placed["shortfall_bytes"]:
        return "%s missing" % gib(placed["shortfall_bytes"])
    if choice["wanted"]["strategy"] not in ("auto", strategy):
        return "strategy %s was asked for" % choice["wanted"]["strategy"]
    if choice["placements"] and len(placed["gpus"]) > len(choice["placements"][0]["gpus"]):
        return "it fits fewer GPUs, and each further one costs its own context and buffers"
    return "another way is better for all models together"
