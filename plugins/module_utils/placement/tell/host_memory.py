# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a plan says of the host's own memory: its `host_memory`, and what the user should know."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from ...common.sizes import gib
from ..ask.host_memory import HostMemory
from ..search.host import Host
from ..shapes import Choice


def host_entry(memory: Optional[HostMemory], host: Host, notes: Sequence[str]) -> Optional[dict[str, Any]]:
    """The plan's `host_memory`, or None where the host's memory is not known.

    Args:
        memory: the host's memory.
        host: the Host with all models on it.
        notes: what `of_host` says.
    """
    if memory is None:
        return None
    return {
        "kind": "unified" if memory.unified else "dedicated",
        "total_bytes": memory.total_bytes,
        "available_bytes": memory.available_bytes,
        "swap_bytes": memory.swap_bytes,
        "headroom_bytes": memory.headroom_bytes,
        "planned_bytes": host.planned_host_bytes,
        "notes": list(notes),
    }


def of_host(memory: Optional[HostMemory], host: Host, choices: Sequence[Choice]) -> list[str]:
    """What the user should know: memory that is not known, that would be swapped, or that hardly suffices.

    Args:
        memory: the host's memory.
        host: the Host with all models on it.
        choices: of all models.
    """
    on_cpu = [
        choice
        for choice in choices
        if choice.placements and (choice.wanted.cpu_experts or not choice.placements[0].on_gpus_only)
    ]
    if memory is None:
        return [
            "%s takes %s of the host's memory. The facts do not say how much the host has, so the plan does not check "
            "it; pass the gpu_inventory that this version of gpu_facts returns."
            % (choice.wanted.name, gib(choice.placements[0].predicted.host_total_bytes))
            for choice in on_cpu
        ]
    notes = [
        "%s has layers or experts on the CPU, which gives it no more memory: GPU and CPU of this host share one memory."
        % choice.wanted.name
        for choice in on_cpu
        if memory.unified and choice.placements[0].gpus
    ]
    return notes + ([] if memory.unified else _beside_others(memory, host))


def _beside_others(memory: HostMemory, host: Host) -> list[str]:
    """How the host's memory holds the models beside other processes, where that is not well."""
    left = memory.available_bytes - host.planned_host_bytes
    if not host.planned_host_bytes or left >= memory.headroom_bytes:
        return []
    sizes = "The models take %s of the host's memory, of which %s of %s are available" % (
        gib(host.planned_host_bytes),
        gib(memory.available_bytes),
        gib(memory.total_bytes),
    )
    if left >= 0:
        return [
            "%s: %s stay free for the host, less than the %s of host_headroom_bytes."
            % (sizes, gib(left), gib(memory.headroom_bytes))
        ]
    swap = "swap of unknown size" if memory.swap_bytes is None else "%s of free swap" % gib(memory.swap_bytes)
    return [
        "%s: the host would swap %s (it has %s), or read weights from the disk again, and be very slow. Free memory on "
        "the host, or make the models smaller." % (sizes, gib(-left), swap)
    ]
