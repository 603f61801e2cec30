# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the host's own memory holds what a model takes of it: its part on the CPU, buffers, and shared memory."""

from __future__ import annotations

import dataclasses

from ...common.sizes import gib
from ..ask.host_memory import HostMemory
from ..shapes import Placed
from .host import Host, taken_of_host


def held_by_host(placed: Placed, host: Host) -> Placed:
    """The placement, with a shortfall and a refusal where the host's memory does not hold it.

    The host's memory is too small where it does not hold the model beside what stays free for the host, whatever else
    runs there. What other processes hold can go to swap, as far as there is any; memory that GPUs use cannot.

    Args:
        placed: a placement. One that does not fit the GPUs is left as it is.
        host: the Host with the models that were placed before.
    """
    memory = host.memory
    if memory is None or placed.shortfall_bytes:
        return placed
    needed = taken_of_host(placed)
    others = host.host_bytes
    too_small = needed + others + memory.headroom_bytes - memory.total_bytes
    swapped = needed + others - memory.available_bytes
    if memory.unified:
        swapped += memory.headroom_bytes
        missing, swap = max(too_small, swapped), 0
    else:
        swap = memory.swap_bytes or 0
        missing = max(too_small, swapped - swap if memory.swap_bytes is not None else 0)
    if missing <= 0:
        return placed
    return dataclasses.replace(
        placed, shortfall_bytes=missing, refusal=_refusal(placed, memory, (needed, others, swap), too_small > 0)
    )


def _refusal(placed: Placed, memory: HostMemory, sizes: tuple[int, int, int], too_small: bool) -> str:
    """Why the host's memory does not hold a model.

    Args:
        placed: its placement.
        memory: the host's memory.
        sizes: bytes that the model takes, that models before it take, and that may go to swap.
        too_small: whether the host has too little memory whatever else runs there.
    """
    needed, others, swap = sizes
    predicted = placed.predicted
    parts = "weights and KV cache %s, compute buffer %s" % (
        gib(predicted.host_bytes),
        gib(predicted.host_compute_bytes),
    )
    shared = sum(device.total_bytes for device in predicted.devices if device.shared_bytes)
    if shared:
        parts += ", %s on the GPU that shares it" % gib(shared)
    beside = " beside %s of other models" % gib(others) if others else ""
    there = "the host has %s" % gib(memory.total_bytes)
    if not too_small:
        there += ", of which %s are available" % gib(memory.available_bytes)
        there += " and %s of swap" % gib(swap) if swap else "" if memory.unified else " and no swap"
    return "The model takes %s of the host's memory%s (%s), and %s; %s stay free for the host (host_headroom_bytes)" % (
        gib(needed),
        beside,
        parts,
        there,
        gib(memory.headroom_bytes),
    )
