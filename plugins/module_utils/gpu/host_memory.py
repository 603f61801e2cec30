# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The host's own memory, which holds what is not on a GPU, and all of it where a GPU has none of its own."""

from __future__ import annotations

from ..common.arguments import is_engine
from ..common.sizes import MIB
from ..host import proc
from . import schema, sysfs

LEAST_BYTES = 64 * MIB  # a unit that holds less is not listed, unless it has an engine


def read(root: str = "/proc") -> schema.HostMemory:
    """Return the memory of this host and the units that hold most of it. What cannot be read is None.

    Args:
        root: /proc except in tests.
    """
    values = sysfs.meminfo(root + "/meminfo")
    found = [
        schema.UnitMemory(
            unit,
            sum(proc.held_bytes(pid, root) for pid in pids),
            sum(is_engine(proc.arguments(pid, root)) for pid in pids),
        )
        for unit, pids in proc.processes_of_units(root).items()
    ]
    held = [one for one in found if one.used_bytes >= LEAST_BYTES or one.engines]
    return schema.HostMemory(
        total_bytes=values.get("MemTotal"),
        available_bytes=values.get("MemAvailable"),
        swap_total_bytes=values.get("SwapTotal"),
        swap_free_bytes=values.get("SwapFree"),
        units=sorted(held, key=lambda one: (-one.used_bytes, one.unit)),
    )
