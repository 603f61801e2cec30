# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan as it is written down on its host. Pure."""

from __future__ import annotations

from typing import Any

#: Keys of a plan with sentences about what it would change of the applied one.
_CHANGES = ("steps_down", "moved_addresses")


def as_written(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan as it is written down: once it is applied, there is nothing that it would change.

    Args:
        plan: as plan.make_plan gives it.
    """
    told = [sentence for key in _CHANGES for sentence in plan.get(key) or []]
    cleared: dict[str, Any] = {key: [] for key in _CHANGES if key in plan}
    return {**plan, **cleared, "warnings": [note for note in plan["warnings"] if note not in told]}
