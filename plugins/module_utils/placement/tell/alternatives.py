# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The ways that were not taken, with their numbers."""

from __future__ import annotations

from typing import Any

from ...common.sizes import gib
from ..search import candidate_placements
from ..search.fitting import Fitting
from ..search.host import Host
from ..shapes import AUTO, Choice, Placed


def alternatives(choice: Choice, host: Host, fitting: Fitting) -> list[dict[str, Any]]:
    """Other ways to place a model, beside the other models of the host.

    Args:
        choice: of the model.
        host: the Host with the other models on it.
        fitting: what a model takes.

    Returns:
        list of {strategy, gpu_uuids, total_bytes, shortfall_bytes, reason}: bytes on all GPUs of one instance; with a
        shortfall of 0 the model would fit as well.
    """
    wanted = choice.wanted
    attempts = [("single", candidate_placements.emptiest_single(wanted, host, fitting))]
    if len(host.joinable()) > 1:
        attempts.append(("split", candidate_placements.closest_split(wanted, host, fitting)))
    if len(host.joinable()) > 2:
        attempts.append(("spread", candidate_placements.spread(wanted, host, fitting)))
    seen = {placed.uuids for placed in choice.placements}
    found = []
    for strategy, placed in attempts:
        if placed is None or placed.uuids in seen:
            continue
        seen.add(placed.uuids)
        found.append(
            {
                "strategy": strategy,
                "gpu_uuids": list(placed.uuids),
                "total_bytes": placed.predicted.total_bytes,
                "shortfall_bytes": placed.shortfall_bytes,
                "reason": _reason(choice, strategy, placed),
            }
        )
    return found


def _reason(choice: Choice, strategy: str, placed: Placed) -> str:
    if placed.refusal:
        # Not the beginning of a sentence here, but a name such as Ollama keeps its capital.
        return "t" + placed.refusal[1:] if placed.refusal.startswith("The ") else placed.refusal
    if placed.shortfall_bytes:
        return "%s missing" % gib(placed.shortfall_bytes)
    if choice.wanted.strategy not in (AUTO, strategy):
        return "strategy %s was asked for" % choice.wanted.strategy
    if choice.placements and len(placed.gpus) > len(choice.placements[0].gpus):
        return "it fits on fewer GPUs, and each further GPU needs a CUDA context and compute buffers of its own"
    return "another placement is better for all models together"
