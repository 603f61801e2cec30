# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What clients need to know of a plan: where a host serves which model. Pure."""

from __future__ import annotations

from typing import Any

from ..common.names import full_name, served_name


def plan_endpoints(plan: dict[str, Any]) -> dict[str, Any]:
    """Return {ollama_version, endpoints[]} of a plan; the models by the names that clients use.

    An endpoint's `aliases` are {alias: the model that it names}.
    """
    return {
        "ollama_version": plan["ollama_version"],
        "endpoints": [
            {
                "instance": instance["name"],
                "url": instance["url"],
                "address": instance["address"],
                "port": instance["port"],
                "gpu_uuids": instance["gpu_uuids"],
                "models": [served_name(model) for model in instance["models"]],
                "aliases": {
                    full_name(alias): served_name(model)
                    for model in instance["models"]
                    for alias in model.get("aliases") or ()
                },
            }
            for instance in plan["instances"]
        ],
    }
