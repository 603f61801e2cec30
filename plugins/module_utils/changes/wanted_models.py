# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models of a plan as module instance_models takes them, in an order that works. Pure."""

from __future__ import annotations

from typing import Any

from ..common.names import draft_name, further_names, key_of, normalise_digest, served_name
from .schema import ModelState


def wanted_models(plan: dict[str, Any], stores: list[str]) -> list[ModelState]:
    """Return the models of a plan as present, in an order that works: a model and its draft model before the optimized
    one that is made from them.

    Args:
        plan: of module placement_info.
        stores: directories that models may be linked or copied from, beside the stores of the plan's instances.
    """
    planned = [instance["store"] for instance in plan["instances"]]
    states = []
    for instance in plan["instances"]:
        others = tuple(store for store in planned + list(stores) if store != instance["store"])
        done = set()
        for model in instance["models"]:
            common = {"state": "present", "link_from": others, "insecure": bool(model.get("insecure"))}
            common["keep_alive"] = model["keep_alive"]
            common["planned_digest"] = model.get("planned_digest")
            for one in filter(None, (model, model.get("draft"))):
                if key_of(one["name"]) not in done:
                    done.add(key_of(one["name"]))
                    # What is to be refreshed is replaced where it is not the one that the plan was made from.
                    pin = one.get("digest") or (one.get("planned_digest") if model.get("refresh") else None)
                    pulled = dict(common, planned_digest=one.get("planned_digest"), headers=one.get("headers"))
                    states.append(
                        model_state(instance, one["name"], digest=pin or "", file=one.get("source"), **pulled)
                    )
            if model.get("create_as"):
                states.append(
                    model_state(
                        instance,
                        model["create_as"],
                        base=model.get("from") or model["name"],
                        draft=draft_name(model) or "",
                        file=model.get("source"),
                        adapters=_own_adapters(model),
                        parameters=model.get("parameters") or {},
                        system=model.get("system") or "",
                        template=model.get("template") or "",
                        **common,
                    )
                )
        states += _further_names(instance)
    return states


def _own_adapters(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The adapters of the user's that a model of a plan gets; those of its base come with that."""
    return [
        {
            "kind": one["kind"],
            "where": one["where"],
            "sha256": normalise_digest(one["digest"])[len("sha256:") :],
            "size_bytes": one["size_bytes"],
        }
        for one in model.get("adapters") or ()
        if one.get("kind")
    ]


def _further_names(instance: dict[str, Any]) -> list[ModelState]:
    """The further names of an instance's models, each of which names the same model as the one that is served.

    A server keeps one engine for a model file and loads it again for a name with other parameters. A name that two
    models of the instance share is given to the first of them; the planner gives such models instances of their own.
    The name of a draft model that is served itself stays with that one.
    """
    taken = {key_of(served_name(model)) for model in instance["models"]}
    pairs = [(name, model) for model in instance["models"] for name in further_names(model)]
    pairs.sort(key=lambda pair: key_of(pair[0]) == key_of(draft_name(pair[1]) or ""))  # names of draft models come last
    states = []
    for name, model in pairs:
        if key_of(name) not in taken:
            taken.add(key_of(name))
            states.append(model_state(instance, name, state="present", same_as=served_name(model)))
    return states


def model_state(instance: dict[str, Any], name: str, **more: Any) -> ModelState:
    """Return the state of a model in an instance of a plan.

    Args:
        instance: of the plan.
        name: of the model.
        more: further attributes of ModelState, `state` among them.
    """
    return ModelState(instance=instance["name"], name=name, url=instance["url"], store=instance["store"], **more)
