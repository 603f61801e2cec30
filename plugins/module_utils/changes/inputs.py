# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host adds to the input of its plan: carried environment variables, units of ours, stores that hold models.
Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..common import paths, secrets
from .carry import Carried, carried_over
from .schema import Wanted


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
    stores = (
        [paths.fetch_store(wanted.models_dir)]
        + [paths.store(wanted.models_dir, instance["name"]) for instance in host["instances"] if instance["store"]]
        + list((host["left_behind"] or {}).get("stores") or [])
    )
    return PlanInput(
        environment=carried_variables(host, wanted).kept,
        own_units=tuple(units + ([paths.EXISTING_UNIT] if wanted.adopt else [])),
        stores=tuple(stores + [store for store in [adopted_store(host)] if store]),
    )


def carried_variables(host: dict[str, Any], wanted: Wanted) -> Carried:
    """Return what becomes of the variables of the Ollama that was or will be adopted; nothing where there is none."""
    recorded = host["adopted"].get("environment")
    there = (host["existing"] or {}).get("environment") if wanted.adopt else None
    found = recorded or there or {}
    # A value is looked at, where it is known, to see whether it can be used.
    known = {
        name: wanted.secrets.get(name, value) if value == secrets.HIDDEN else value for name, value in found.items()
    }
    carried = carried_over(known, wanted.version, wanted.acknowledged)
    return carried._replace(kept=secrets.shown_environment(carried.kept))


def adopted_store(host: dict[str, Any]) -> str:
    """Return the models directory of the Ollama that was or will be adopted, "" where there is none."""
    return host["adopted"].get("store") or (host["existing"] or {}).get("store") or ""
