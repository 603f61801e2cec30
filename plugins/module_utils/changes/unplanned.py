# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that an instance has and that the plan does not give to it. Pure.

An instance serves what the plan gave it and nothing else: a request for another model gets 404 instead of evicting a
planned one. What is not planned is deleted once the plan is proven, and unloaded before the planned models are loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from ..common.names import further_names, parse, served_name
from .model_entries import find, find_loaded, parsed_name
from .schema import Change, ModelState


def unplanned_models(plan: dict[str, Any], servers: dict[str, Any]) -> list[ModelState]:
    """Return, as absent, the models that servers offer and that the plan neither gives to that instance nor needs to
    make one that it does.

    Args:
        plan: of module placement_info.
        servers: {instance: server} of known_servers.py.
    """
    found = []
    for instance in plan["instances"]:
        wanted = [
            parse(name)
            for model in instance["models"]
            for name in (model["name"], model.get("from"), model.get("create_as"), *further_names(model))
            if name
        ]
        for entry in (servers.get(instance["name"]) or {}).get("models") or []:
            name = parsed_name(entry)
            if name is not None and not any(name.same(other) for other in wanted):
                place = {"url": instance["url"], "store": instance["store"]}
                found.append(ModelState(instance["name"], entry["name"], "absent", **place))
    return found


def compare_unplanned(
    plan: dict[str, Any], servers: dict[str, Any], restarted: Collection[str]
) -> tuple[list[Change], list[ModelState]]:
    """Return the changes of what is not planned, and its wanted states.

    A loaded model that the plan does give to the instance, under another name, is not unloaded.

    Args:
        plan: of module placement_info.
        servers: {instance: server} of known_servers.py.
        restarted: instances whose servers start anew.
    """
    absent = unplanned_models(plan, servers)
    changes = [
        Change("delete", "model", state.name, "The plan does not give it to %s." % state.instance, state.instance)
        for state in absent
    ]
    served = {one["name"]: [served_name(model) for model in one["models"]] for one in plan["instances"]}
    in_the_way = []
    for state in absent:
        server = servers[state.instance]
        loaded = find(server.get("loaded"), state.name)
        planned = [find_loaded(server, name) for name in served[state.instance]]
        if loaded is not None and state.instance not in restarted and loaded not in planned:
            reason = "It is loaded, and the plan has no room for it."
            changes.append(Change("unload", "model", state.name, reason, state.instance))
            in_the_way.append(dataclasses.replace(state, state="unloaded"))
    return changes, absent + in_the_way
