# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about CUDA_VISIBLE_DEVICES, each from the value that provokes it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import ServerLog

from tests.unit.plugins.module_utils.diagnose.builders import A, B, found, host, inventory, server
from tests.unit.plugins.module_utils.diagnose.test_server_settings import has

MIG = [{"uuid": "MIG-1", "memory": {}, "processes": []}, {"uuid": "MIG-2", "memory": {}, "processes": []}]
DIVIDED = inventory(first={"mig": {"mode": "enabled", "pending_mode": "enabled", "devices": MIG}})
CASES = {
    "visible_devices_none": (has({"CUDA_VISIBLE_DEVICES": "-1"}), ["'-1'", "all 2 GPUs"]),
    "visible_devices_invalid": (has({"CUDA_VISIBLE_DEVICES": "%s,GPU-ff" % A}), ["'GPU-ff'", "1 of 2"]),
    "visible_devices_fewer": (
        has({"CUDA_VISIBLE_DEVICES": A, "OLLAMA_VULKAN": "0"}, engines=()),
        ["can use GPU 1 (RTX"],
    ),
    "visible_devices_by_index": (has({"CUDA_VISIBLE_DEVICES": "0,1"}), ["CUDA_VISIBLE_DEVICES=0,1"]),
    "mig_one_device_only": (has({"CUDA_VISIBLE_DEVICES": "MIG-1,MIG-2"}, DIVIDED, engines=()), ["2 MIG devices"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding


def test_servers_that_share_the_gpus_out_hide_none():
    both = tuple(
        server({"CUDA_VISIBLE_DEVICES": uuid, "OLLAMA_VULKAN": "0"}, engines=(), name=name, log=ServerLog())
        for uuid, name in ((A, "one.service"), (B, "two.service"))
    )
    assert "visible_devices_fewer" not in found(host(servers=both))


@pytest.mark.parametrize(
    "order, names, confidence",
    [(None, "other", "likely"), (None, "same", "possible"), ("PCI_BUS_ID", "other", "possible")],
)
def test_numbers_are_worse_where_the_gpus_differ(order, names, confidence):
    facts = inventory(second={"name": "RTX 3090"} if names == "other" else {})
    evidence = has({"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": order}, facts)
    finding = found(evidence)["visible_devices_by_index"]
    assert finding.confidence == confidence
    assert ("CUDA_DEVICE_ORDER" in finding.remedy) is (order is None), "what is there is no remedy"


@pytest.mark.parametrize("away", [{"unlisted": ["0000:41:00.0"]}, {"second": {"uuid": None}}])
def test_an_entry_may_name_the_gpu_that_the_driver_has_lost(away):
    lost = inventory(**away)
    finding = found(has({"CUDA_VISIBLE_DEVICES": "%s,GPU-ff" % A}, lost))["visible_devices_invalid"]
    assert finding.confidence == "possible" and "Look at that GPU first" in finding.remedy


def test_a_gpu_of_the_plan_that_is_gone_is_no_wrong_entry():
    planned = {"gpu_uuids": [A, "GPU-ff"], "environment": {}, "models": []}
    assert "visible_devices_invalid" not in found(has({"CUDA_VISIBLE_DEVICES": "%s,GPU-ff" % A}, planned=planned))
    assert "visible_devices_invalid" in found(has({"CUDA_VISIBLE_DEVICES": "%s,GPU-00" % A}, planned=planned))


def test_uuids_are_well():
    assert not found(has({"CUDA_VISIBLE_DEVICES": "%s,%s" % (A, B)}))
