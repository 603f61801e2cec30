# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Hosts and models as hypothesis makes them up for the planner's properties: of every kind that a plan knows."""

from __future__ import annotations

import copy

from hypothesis import strategies as st

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, sized

VERSIONS = st.sampled_from(["0.32.15"] * 4 + ["0.30.0", "0.24.0", "0.12.11", "0.12.3", "0.11.4", "0.5.13"])

# One GPU: total MiB, MiB that the driver does not give away, MiB of another tenant, and what is odd about it.
GPU = st.tuples(
    st.sampled_from([6144, 8192, 12288, 24564, 24564, 49140]),
    st.sampled_from([0, 400]) | st.integers(0, 6000),
    st.sampled_from([0, 0, 0]) | st.integers(1, 9000),
    st.sampled_from(["", "", "", "", "", "exclusive", "mig", "degraded", "node1", "unusable"]),
)
GPUS = st.lists(GPU, min_size=1, max_size=4)
LINKS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["SYS", "PIX", "nvlink"])), max_size=3)

SETTINGS = st.fixed_dictionaries(
    {
        # Size of the weights as a share of what one GPU has: with a fixed size most models would be far too large or
        # too small.
        "share": st.sampled_from([0.02, 0.2, 0.3, 0.4, 0.45, 0.6, 0.75, 1.2, 1.5]) | st.floats(0.05, 2),
        "blocks": st.sampled_from([6, 6, 11]),
        "context_length": st.sampled_from([2048, 8192, 8192, 32768, 100000, "auto"]),
        "strategy": st.sampled_from(["auto", "auto", "auto", "single", "replicate", "split", "spread"]),
        "parallel": st.sampled_from([1, 1, 2, 4]),
        "kv_cache_type": st.sampled_from([None, None, "q8_0", "f16"]),
        "headroom_bytes": st.sampled_from([0, 300 * MIB, GIB, GIB, 3 * GIB]),
        "replicas": st.sampled_from([None, None, None, 2]),
        "ubatch": st.sampled_from([None, None, None, 256]),
        "allow_cpu_offload": st.sampled_from([False, False, False, True]),
    }
)
MODELS = st.lists(SETTINGS, min_size=1, max_size=4)


def host(gpus, links=()):
    """gpu_inventory of a host with these GPUs; a link joins two of them by their places."""
    inventory = hosts.inventory(*[(total, total - min(kept, total)) for total, kept, dummy, dummy in gpus])
    for place, (total, kept, foreign, odd) in enumerate(gpus):
        foreign = min(foreign, total - min(kept, total))
        if foreign:
            inventory = hosts.with_process(inventory, place, foreign, "other.service")
        gpu = inventory["gpus"][place]
        if odd == "exclusive":
            gpu["compute_mode"] = "exclusive_process"
        elif odd == "mig":
            half = {key: size // 2 for key, size in gpu["memory"].items() if key.endswith("_bytes")}
            gpu["mig"] = {
                "mode": "enabled",
                "devices": [
                    {
                        "uuid": "MIG-%04d%04d-aaaa" % (place, number),
                        "name": "half",
                        "memory": dict(half),
                        "processes": [],
                    }
                    for number in (1, 2)
                ],
            }
        elif odd == "degraded":
            gpu["health"] = {"state": "degraded", "reasons": ["retired pages pending"]}
        elif odd == "unusable":
            gpu["health"] = {"state": "unusable", "reasons": ["it has fallen off the bus"]}
        elif odd == "node1":
            gpu["numa_node"] = 1
    for one, other, how in links:
        if one < other < len(gpus):
            uuids = [inventory["gpus"][place]["uuid"] for place in (one, other)]
            inventory["topology"].append(
                {"uuids": uuids, "path": None if how == "nvlink" else how, "nvlinks": 4 if how == "nvlink" else None}
            )
    return copy.deepcopy(inventory)


def devices(inventory):
    """{uuid: memory} of all GPUs and MIG devices of a host."""
    found = {}
    for gpu in inventory["gpus"]:
        for device in (gpu["mig"] or {}).get("devices") or [gpu]:
            found[device["uuid"]] = device["memory"]
    return found


def running(inventory, plan):
    """The same host with everything that a plan predicts in the memory of its devices."""
    inventory = copy.deepcopy(inventory)
    holders = {
        device["uuid"]: device for gpu in inventory["gpus"] for device in (gpu["mig"] or {}).get("devices") or [gpu]
    }
    for instance in plan["instances"]:
        for number, model in enumerate(instance["models"]):
            for device in model["predicted"]["devices"]:
                holder = holders[device["uuid"]]
                holder["memory"]["free_bytes"] -= device["total_bytes"]
                holder["processes"].append(
                    {
                        "pid": 5000 + number,
                        "name": "llama-server",
                        "used_bytes": device["total_bytes"],
                        "unit": instance["unit"],
                        "type": "compute",
                    }
                )
    return inventory


def with_more_free(inventory, changes):
    """The same host with these bytes more (or less) free on its devices, in their order; never more than the total."""
    inventory = copy.deepcopy(inventory)
    for memory, change in zip(devices(inventory).values(), changes):
        memory["free_bytes"] = max(0, min(memory["free_bytes"] + change, memory["total_bytes"]))
    return inventory


def entries(listed, gpus):
    """Entries of placement_info's models for a host of these GPUs; replicas only where the strategy takes them."""
    free = sorted(max(500, total - kept) for total, kept, dummy, dummy in gpus)[len(gpus) // 2]
    found = []
    for number, settings in enumerate(listed):
        settings = dict(settings)
        size = settings.pop("share") * free / 1024
        if settings["strategy"] in ("split", "spread"):
            settings["replicas"] = None
        found.append(sized("model%d" % number, size, **settings))
    return found


def exclusive(inventory, uuid):
    """Whether a GPU, or the GPU of a MIG device, takes one process only."""
    return any(
        gpu["compute_mode"] == "exclusive_process"
        for gpu in inventory["gpus"]
        if uuid in [gpu["uuid"]] + [device["uuid"] for device in gpu["mig"]["devices"]]
    )
