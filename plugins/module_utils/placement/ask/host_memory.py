# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From the facts of gpu_facts to the host's memory that a plan may use.

Available memory = what the kernel says is available and what the processes of our own units hold. Of those only memory
that belongs to no file counts: weights that are mapped from a file are page cache, which the kernel counts as
available already. So the plan is the same before and after the models are loaded.

Ollama from 0.30 on maps the weights that stay on the host from their file, and copies them into memory of their own
(`--load-mode none`, before 0.32 `--no-mmap`) where all of the model is on the CPU; for a GPU that shares the host's
memory it reads without the page cache (`--load-mode dio`) (server/sched.go `disableMmapDefaultReason`,
llm/llama_server.go `appendLoadModeArgs`). A plan counts the weights alike: what does not stay in the page cache is read
from the disk again for every token.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ...common.sizes import GIB
from ..shapes import Gpu

# What stays free for the host where the user says nothing: this share of its memory, within these limits.
HEADROOM_SHARE = 32
LEAST_HEADROOM, MOST_HEADROOM = GIB, 8 * GIB


@dataclasses.dataclass(frozen=True)
class HostMemory:
    """The memory of a host.

    Attributes:
        total_bytes: all of it.
        available_bytes: what the plan may count on, with what our own units hold.
        swap_bytes: free swap, or None where it is not known.
        headroom_bytes: what stays free for the host.
        unified: whether GPUs of the host share this memory.
        holders: (unit, bytes) of the units of others that hold most.
    """

    total_bytes: int
    available_bytes: int
    swap_bytes: Optional[int]
    headroom_bytes: int
    unified: bool = False
    holders: tuple[tuple[str, int], ...] = ()

    @property
    def held_bytes(self) -> int:
        """What others hold, the kernel among them."""
        return max(0, self.total_bytes - self.available_bytes)

    def freed(self, size: int) -> HostMemory:
        """The memory after others gave so much back."""
        return dataclasses.replace(self, available_bytes=min(self.total_bytes, self.available_bytes + size))

    def for_release(self) -> dict[str, int]:
        """The memory as the rules of a release take it (releases/shapes.py, LoadRequest.system)."""
        return {"free_bytes": self.available_bytes, "swap_bytes": self.swap_bytes or 0}


def host_memory(
    gpu_inventory: dict[str, Any],
    gpus: Sequence[Gpu],
    applied_plan: dict[str, Any],
    own_units: Any,
    headroom_bytes: Optional[int],
) -> Optional[HostMemory]:
    """The memory of the host, or None where the facts do not have it.

    Args:
        gpu_inventory: facts of gpu_facts, checked by inventory.check_inventory. Facts that an earlier version read, or
            another program, may lack `host_memory`.
        gpus: the GPUs that the plan may use. One that shares the host's memory says how much that has.
        applied_plan: the plan on the host as applied.sound gives it.
        own_units: further systemd units whose memory will be given back.
        headroom_bytes: what the user wants to keep free, or None.
    """
    facts = gpu_inventory.get("host_memory") or {}
    total, available = facts.get("total_bytes"), facts.get("available_bytes")
    shared = [gpu for gpu in gpus if gpu.unified]
    units = units_of(applied_plan, own_units)
    if shared:
        # The GPU's figures have the memory of our own units in them, those of our processes on the GPU as well.
        total, available = shared[0].total_bytes, shared[0].available_bytes
    elif total is None or available is None:
        return None
    else:
        available = min(total, available + held_on_host(facts, units))
    return HostMemory(
        total_bytes=total,
        available_bytes=available,
        swap_bytes=facts.get("swap_free_bytes"),
        headroom_bytes=default_headroom(total) if headroom_bytes is None else headroom_bytes,
        unified=bool(shared),
        holders=tuple(
            (str(one.get("unit")), one["used_bytes"])
            for one in facts.get("units") or []
            if one.get("unit") not in units and one.get("used_bytes")
        ),
    )


def default_headroom(total_bytes: int) -> int:
    """What stays free for the host where the user says nothing: 1/32 of its memory, and 1 to 8 GiB."""
    return min(MOST_HEADROOM, max(LEAST_HEADROOM, total_bytes // HEADROOM_SHARE))


def units_of(applied_plan: dict[str, Any], own_units: Any) -> set[Optional[str]]:
    """Names of the systemd units whose memory is ours."""
    units = {instance.get("unit") for instance in applied_plan.get("instances") or []}
    units.update(own_units or ())
    return units


def held_on_host(facts: dict[str, Any], units: set[Optional[str]]) -> int:
    """Bytes of the host's memory that units hold.

    Args:
        facts: `host_memory` of gpu_facts.
        units: their names.
    """
    return sum(
        one.get("used_bytes") or 0
        for one in facts.get("units") or []
        if one.get("unit") is not None and one["unit"] in units
    )
