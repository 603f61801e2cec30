# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which sets of GPUs are preferred for a split."""

from __future__ import annotations

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import plan, wanted, where


def four(**changes):
    inventory = hosts.inventory(*[hosts.RTX4090] * 4)
    for index, change in changes.items():
        inventory["gpus"][int(index[1:])].update(change)
    return inventory


def link(inventory, one, other, **how):
    uuids = [inventory["gpus"][index]["uuid"] for index in (one, other)]
    inventory["topology"] = inventory["topology"] + [dict({"uuids": uuids, "path": None, "nvlinks": None}, **how)]


def test_gpus_that_nvlink_joins_are_preferred():
    inventory = four()
    link(inventory, 1, 3, nvlinks=4)
    assert where(plan(inventory, wanted("llama3.3-70b"))) == {"llama3.3-70b": ["gpu1-3"]}


def test_gpus_of_one_numa_node_are_preferred_and_then_the_shorter_path():
    inventory = four(g0={"numa_node": 1}, g2={"numa_node": 1})
    assert where(plan(inventory, wanted("llama3.3-70b"))) == {"llama3.3-70b": ["gpu0-2"]}
    inventory = four()
    for one in range(4):
        for other in range(one + 1, 4):
            link(inventory, one, other, path="PIX" if (one, other) == (2, 3) else "SYS")
    assert where(plan(inventory, wanted("llama3.3-70b"))) == {"llama3.3-70b": ["gpu2-3"]}


def test_more_nvlink_pairs_are_better_than_fewer():
    inventory = four()
    for pair in ((0, 1), (1, 2), (1, 3), (2, 3)):
        link(inventory, *pair, nvlinks=2)
    result = plan(inventory, wanted("llama4-scout", context_length=8192))
    assert where(result)["llama4"] == ["gpu1-2-3"]


def test_sixteen_gpus_of_which_those_with_room_are_no_neighbours():
    sizes = [(24564, 24100 if index in (0, 3, 6, 9, 12, 15) else 3000) for index in range(16)]
    result = plan(hosts.inventory(*sizes), wanted("llama4-scout", context_length=131072))
    assert result["feasible"] and {gpu.split("-")[1] for gpu in result["instances"][0]["gpu_uuids"]} <= {
        "%08d" % (index + 1) for index in (0, 3, 6, 9, 12, 15)
    }


def test_a_degraded_gpu_is_used_last_and_named():
    hot = {"health": {"state": "degraded", "reasons": ["thermal slowdown"]}}
    result = plan(four(g0=hot), wanted("llama3.3-70b"))
    assert where(result) == {"llama3.3-70b": ["gpu1-2"]}
    assert any("degraded: thermal slowdown" in warning for warning in result["warnings"])
    inventory = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
    inventory["gpus"][0].update(hot)
    assert where(plan(inventory, wanted("llama3.1-8b", replicas=1))) == {"llama3.1-8b": ["gpu1"]}
