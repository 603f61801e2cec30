# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan as it is written down on its host. Pure."""

from __future__ import annotations

from typing import Any

#: Keys of a plan with sentences about what it would change of the applied one, and about entries of lists that do not
#: concern the host.
_CHANGES = ("steps_down", "moved_addresses", "moved_tags", "without_effect", "release_changes")


def as_written(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan as it is written down: once it is applied, there is nothing that it would change.

    What other processes leave of the host's memory at the moment is not in it: that is never the same twice, and a plan
    that is written anew at every run would count as a change.

    Args:
        plan: as plan.make_plan gives it.
    """
    told = [sentence for key in _CHANGES for sentence in plan.get(key) or []]
    cleared: dict[str, Any] = {key: [] for key in _CHANGES if key in plan}
    memory = plan.get("host_memory")
    if memory:
        told += memory["notes"]
        cleared["host_memory"] = {**memory, "available_bytes": None, "swap_bytes": None, "notes": []}
    return {**plan, **cleared, "warnings": [note for note in plan["warnings"] if note not in told]}
