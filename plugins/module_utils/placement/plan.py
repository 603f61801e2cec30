# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Assemble the plan: skeleton with the final shape; policy and refusals follow."""

from __future__ import annotations

from ..memory import estimate as memory
from ..memory import overhead
from . import gpus as gpu_room

PLAN_VERSION = 1
GIB = 1024**3


def make_plan(
    gpu_inventory,
    models,
    ollama_version,
    selectors=None,
    applied_plan=None,
    models_dir="/usr/share/ollama/.ollama/models",
    environment=None,
    overhead_bytes=None,
    headroom_bytes=GIB,
    listen_address="127.0.0.1",
    base_port=11434,
    own_units=(),
):
    """Plan a host: which model on which GPUs, in which instances, with which settings. Returns the plan (dict)."""
    gpus, left_out = gpu_room.usable_gpus(gpu_inventory, selectors, applied_plan, own_units)
    warnings = ["GPU %s is left out: %s." % (gpu["uuid"], gpu["reason"]) for gpu in left_out]
    instances = []
    reports = []
    for wanted in models:
        facts = wanted["model"]
        context = int(wanted.get("context_length") or 0) or min(8192, facts["context_length"])
        ubatch = wanted.get("ubatch") or (2048 if context > 32768 else 1024 if context > 4096 else 512)
        strategy = wanted.get("strategy") or "auto"
        alone = memory.estimate(facts, [1], context, ubatch=ubatch)["devices"][0]
        fits = bool(gpus) and sum(v for k, v in alone.items() if k.endswith("_bytes")) + GIB < gpus[0]["available_bytes"]
        if strategy == "auto":
            strategy = "replicate" if fits and len(models) == 1 else "single" if fits else "split"
        sets = [[gpu] for gpu in gpus] if strategy == "replicate" else [gpus[:1]] if strategy == "single" else [gpus]
        for members in sets:
            predicted = memory.estimate(facts, [gpu["available_bytes"] for gpu in members], context, ubatch=ubatch)
            for gpu, device in zip(members, predicted["devices"]):
                device["uuid"] = gpu["uuid"]
                device["overhead_bytes"] = overhead.context_overhead(gpu["architecture"], overhead_bytes)[0]
                device["total_bytes"] = sum(v for k, v in device.items() if k.endswith("_bytes"))
                device["free_bytes"] = gpu["available_bytes"]
            predicted["fully_on_gpu"] = True
            predicted["ubatch"] = ubatch
            predicted["headroom_bytes"] = headroom_bytes
            name = "gpu" + "-".join(str(gpu["number"]) for gpu in members)
            port = base_port + len(instances)
            served = facts["name"] if ":" in facts["name"] else facts["name"] + ":latest"
            env = {
                "OLLAMA_HOST": "%s:%d" % (listen_address, port),
                "OLLAMA_MODELS": "%s/instances/%s" % (models_dir, name),
                "CUDA_VISIBLE_DEVICES": ",".join(gpu["uuid"] for gpu in members),
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                "OLLAMA_VULKAN": "0",
                "OLLAMA_NO_CLOUD": "1",
                "OLLAMA_CONTEXT_LENGTH": str(context),
                "OLLAMA_NUM_PARALLEL": "1",
                "OLLAMA_MAX_LOADED_MODELS": "1",
                "OLLAMA_KEEP_ALIVE": "-1",
            }
            if strategy in ("split", "spread"):
                env["OLLAMA_SCHED_SPREAD"] = "1"
            env.update(environment or {})
            instances.append(
                {
                    "name": name,
                    "unit": "ollama@%s.service" % name,
                    "address": listen_address,
                    "port": port,
                    "url": "http://127.0.0.1:%d" % port,
                    "store": "%s/instances/%s" % (models_dir, name),
                    "gpu_uuids": [gpu["uuid"] for gpu in members],
                    "environment": env,
                    "models": [
                        {
                            "name": wanted["name"],
                            "create_as": served + "-optimized",
                            "from": wanted["name"],
                            "digest": wanted.get("digest"),
                            "insecure": bool(wanted.get("insecure")),
                            "parameters": {"num_ctx": context, "num_gpu": 999},
                            "system": None,
                            "template": None,
                            "keep_alive": -1,
                            "expected": {"outcome": "split" if len(members) > 1 else "single"},
                            "context_length": context,
                            "parallel": 1,
                            "kv_cache_type": "f16",
                            "predicted": predicted,
                        }
                    ],
                }
            )
        reports.append(
            {"name": wanted["name"], "strategy": strategy, "reason": "", "shortfall_bytes": None, "remedies": [], "default_behaviour": None}
        )
    return {
        "plan_version": PLAN_VERSION,
        "ollama_version": ollama_version,
        "engine": "llama-server",
        "feasible": bool(gpus),
        "models_dir": models_dir,
        "models": reports,
        "instances": instances,
        "warnings": warnings,
        "gpus": [{key: gpu[key] for key in ("uuid", "index", "number", "pci_bus_id", "name", "total_bytes", "available_bytes", "foreign_bytes")} for gpu in gpus],
    }
