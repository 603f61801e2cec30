# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""GPU facts of made-up hosts, as gpu_facts returns them, for tests of the planner."""

from __future__ import annotations

MIB = 1024 * 1024
A6000 = (49140, 48600)
RTX4090 = (24564, 24100)


def inventory(*sizes, **changes):
    """gpu_inventory of a host with GPUs of (total, free) MiB; `changes` replace entries of every GPU."""
    gpus = []
    for index, (total, free) in enumerate(sizes):
        gpu = {
            "uuid": "GPU-%08d-1111-2222-3333-444444444444" % (index + 1),
            "index": index,
            "pci_bus_id": "0000:%02x:00.0" % (index + 1),
            "name": "GPU of %d MiB" % total,
            "architecture": "ampere",
            "compute_capability": "8.6",
            "memory": {
                "total_bytes": total * MIB,
                "free_bytes": free * MIB,
                "used_bytes": (total - free) * MIB,
                "kind": "dedicated",
            },
            "compute_mode": "default",
            "mig": {"mode": None, "devices": []},
            "numa_node": 0,
            "processes": [],
            "health": {"state": "ok", "reasons": []},
        }
        gpu.update(changes)
        gpus.append(gpu)
    return {"state": "ok", "reason": None, "remedy": None, "gpus": gpus, "topology": []}


def with_process(inventory_, index, used_mib, unit):
    """The same host with a process on one GPU that takes its bytes from the free memory."""
    gpu = dict(inventory_["gpus"][index])
    memory = dict(gpu["memory"])
    memory["free_bytes"] -= used_mib * MIB
    memory["used_bytes"] += used_mib * MIB
    gpu["memory"] = memory
    gpu["processes"] = gpu["processes"] + [
        {"pid": 4000 + index, "name": "llama-server", "used_bytes": used_mib * MIB, "unit": unit}
    ]
    gpus = list(inventory_["gpus"])
    gpus[index] = gpu
    return dict(inventory_, gpus=gpus)


def loaded(inventory_, plan):
    """The same host with everything that a plan predicts in its GPUs' memory."""
    for instance in plan["instances"]:
        for model in instance["models"]:
            for device in model["predicted"]["devices"]:
                index = [gpu["uuid"] for gpu in inventory_["gpus"]].index(device["uuid"])
                inventory_ = with_process(inventory_, index, device["total_bytes"] // MIB, instance["unit"])
    return inventory_
