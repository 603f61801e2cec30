# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host adds to the input of its plan: carried environment variables, units of ours, stores that hold models.
Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..common import paths
from .schema import Wanted

# Variables that an installer writes into its unit for itself.
_NOT_CARRIED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL")
# Variables that the plan decides.
DECIDED = (
    "OLLAMA_HOST",
    "OLLAMA_MODELS",
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_KV_CACHE_TYPE",
    "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_SCHED_SPREAD",
    "OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_KEEP_ALIVE",
    "OLLAMA_VULKAN",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
)


@dataclass(frozen=True)
class PlanInput:
    """What module placement_info is given beside the role's variables.

    `environment` are the variables carried over from an adopted Ollama, without the user's own; `own_units` are units
    whose memory comes free when the plan is applied; `stores` are the models directories in which the engine may find
    models to measure.
    """

    environment: dict = field(default_factory=dict)
    own_units: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()


def plan_input(host: dict[str, Any], wanted: Wanted) -> PlanInput:
    """Return what a host adds to the input of its plan."""
    # Instances of a run that was killed before it wrote its plan down count, too.
    units = [paths.unit(instance["name"]) for instance in host["instances"]]
    stores = [
        paths.store(wanted.models_dir, instance["name"]) for instance in host["instances"] if instance["store"]
    ] + list((host["left_behind"] or {}).get("stores") or [])
    return PlanInput(
        environment=carried_variables(host, wanted.adopt)[0],
        own_units=tuple(units + ([paths.EXISTING_UNIT] if wanted.adopt else [])),
        stores=tuple(stores + [store for store in [adopted_store(host)] if store]),
    )


def carried_variables(host: dict[str, Any], adopt: bool) -> tuple[dict[str, str], list[str]]:
    """Return (variables of the adopted Ollama that the instances get, names of those that are dropped and that a user
    should know of)."""
    source = (
        host["adopted"].get("environment") or ((host["existing"] or {}).get("environment") if adopt else None) or {}
    )
    kept = {
        name: value
        for name, value in source.items()
        if name not in DECIDED and name not in _NOT_CARRIED and not name.startswith("LD_")
    }
    return kept, [name for name in source if name not in kept and name not in _NOT_CARRIED]


def adopted_store(host: dict[str, Any]) -> str:
    """Return the models directory of the Ollama that was or will be adopted, "" where there is none."""
    return host["adopted"].get("store") or (host["existing"] or {}).get("store") or ""
