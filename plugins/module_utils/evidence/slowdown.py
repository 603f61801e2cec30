# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How fast the models of a plan generate, and which are slower than they were. Pure."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping


def measured_speeds(instances: Iterable[Mapping[str, Any]]) -> Dict[str, Dict[str, float]]:
    """Return {instance: {model: tokens/s}} of evidence; a model that generated nothing is not in it.

    Args:
        instances: of the result of placement_check.
    """
    found: Dict[str, Dict[str, float]] = {}
    for instance in instances:
        for model in instance.get("models") or []:
            speed = model.get("tokens_per_second")
            if isinstance(speed, (int, float)) and speed > 0:
                found.setdefault(str(instance.get("name")), {})[str(model.get("name"))] = speed
    return found
