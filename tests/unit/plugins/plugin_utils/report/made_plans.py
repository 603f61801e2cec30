# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Plans of the planner itself for made-up hosts, and evidence that belongs to them."""

from __future__ import annotations

import functools
import json

from ansible_collections.gpufleet.ollama.plugins.action import placement_info

from tests.oracle import hosts, models
from tests.unit.plugins.action.test_hostile_answers import act

HEADERS = {"llama4:16x17b": "llama4-scout", "gemma3:27b": "gemma3-27b", "llama3.1:8b": "llama3.1-8b"}


@functools.lru_cache(maxsize=None)
def _planned(wanted, sizes, changes):
    entries = json.loads(wanted)
    headers = [dict(models.model(HEADERS[one["name"]]), name=one["name"]) for one in entries]
    inventory = hosts.inventory(*sizes, **json.loads(changes))
    options = {"gpu_inventory": inventory, "ollama_version": "0.32.15", "models": entries, "headers": headers}
    result = act(placement_info, "placement_info", options)
    assert isinstance(result, dict), result
    return json.dumps(result["placement"])


def planned(*wanted, gpus=(hosts.A6000, hosts.A6000), **changes):
    """The plan for models ({name, context_length, ...}) on GPUs of (total, free) MiB."""
    return json.loads(_planned(json.dumps(wanted), tuple(gpus), json.dumps(changes)))


def evidence_of(plan, verdict="pass", **check):
    """Evidence in which everything is as predicted. `check` is one that a model has beside."""
    instances = []
    for instance in plan["instances"]:
        of_models = []
        for model in instance["models"]:
            devices = [
                {
                    "uuid": device["uuid"],
                    "layers": device["layers"],
                    "predicted_bytes": device["total_bytes"],
                    "engine_bytes": device["total_bytes"] - device["overhead_bytes"],
                    "observed_bytes": device["total_bytes"],
                    "context_bytes": device["overhead_bytes"],
                    "projector_bytes": 0,
                    "least_bytes": device["total_bytes"] - 2**26,
                    "most_bytes": device["total_bytes"] + 2**26,
                    "utilization_peak": 87,
                }
                for device in model["predicted"]["devices"]
            ]
            of_models.append(
                {
                    "name": model["create_as"] or model["name"],
                    "verdict": verdict,
                    "checks": [dict({"required": True}, **check)] if check else [],
                    "devices": devices,
                    "layers_offloaded": model["predicted"]["gpu_layers"],
                    "layers_total": model["predicted"]["total_layers"],
                    "tokens_per_second": 41.5,
                    "load_seconds": 12.0,
                    "notes": [],
                }
            )
        instances.append({"name": instance["name"], "checks": [], "models": of_models})
    return {"verdict": verdict, "instances": instances, "diagnosis": []}
