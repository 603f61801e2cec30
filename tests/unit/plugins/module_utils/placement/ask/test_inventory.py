# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of GPUs that cannot be are refused; unknown ones are not."""

from __future__ import annotations

import pytest

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused


def _gpu(**changes):
    return dict(TWO_A6000, gpus=[dict(TWO_A6000["gpus"][0], **changes)])


@pytest.mark.parametrize(
    "inventory, words",
    [
        ("facts", ["gpu_inventory is 'facts'"]),
        ({"gpus": "x"}, ["gpus of gpu_inventory"]),
        ({"gpus": [], "unlisted": "0000:01:00.0"}, ["unlisted of gpu_inventory"]),
        ({"gpus": [{"architecture": 3.5}]}, ["architecture of GPU 0"]),
        ({"gpus": [7]}, ["gpus of gpu_inventory", "7"]),
        (_gpu(memory={"total_bytes": "48 GB", "free_bytes": 1}), ["total_bytes", "'48 GB'"]),
        (_gpu(memory=[1]), ["memory", "[1]"]),
        (_gpu(processes=[{"used_bytes": "x"}]), ["used_bytes", "'x'"]),
        (_gpu(mig={"mode": "enabled", "devices": [7]}), ["devices", "7"]),
        (_gpu(health="bad"), ["health", "'bad'"]),
        (_gpu(uuid=5), ["uuid", "5"]),
        (_gpu(name=[]), ["name of GPU 0", "[]"]),
        (_gpu(compute_capability=8.6), ["compute_capability of GPU 0", "8.6"]),
        (_gpu(numa_node={}), ["numa_node of GPU 0"]),
        (dict(TWO_A6000, topology=[{"path": "SYS", "uuids": ["a"]}]), ["uuids", "['a']"]),
        (dict(TWO_A6000, topology=["x"]), ["topology", "'x'"]),
    ],
)
def test_facts_of_gpus_that_cannot_be(inventory, words):
    message = refused(inventory=inventory)
    for word in words + ["gpu_inventory of gpu_facts, whole"]:
        assert word in message


def test_no_host_has_so_many_gpus():
    gpu = TWO_A6000["gpus"][0]
    message = refused(inventory=dict(TWO_A6000, gpus=[dict(gpu, uuid="GPU-%d" % number) for number in range(65)]))
    assert "has 65 GPUs, and no host has more than 64" in message


def test_facts_of_gpus_of_which_much_is_unknown_pass():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    unknown = dict.fromkeys(
        (
            "compute_capability",
            "architecture",
            "name",
            "compute_mode",
            "mig",
            "health",
            "processes",
            "numa_node",
            "pci_bus_id",
        )
    )
    assert make_plan(_gpu(**unknown), [entry], "0.32.15")["feasible"]
    for inventory in ({}, {"gpus": None, "topology": None}, _gpu(memory=None), _gpu(uuid=None)):
        result = make_plan(inventory, [entry], "0.32.15")
        assert not result["feasible"] and result["models"][0]["reason"].startswith("No usable GPU: ")
