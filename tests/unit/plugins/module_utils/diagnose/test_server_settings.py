# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the settings of a server, each from the settings that provoke it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import ServerGpu, ServerLog

from tests.unit.plugins.module_utils.diagnose.builders import UNIT, A, B, engine, found, host, inventory, server


def has(environment=None, facts=None, **changes):
    """A host whose server has further variables."""
    return host(servers=(server(environment, **changes),), inventory=facts or inventory())


VULKAN = ServerLog(gpus=[ServerGpu("Vulkan"), ServerGpu("Vulkan")])
OLD = {"version": "0.24.0", "engines": ()}
MIG = [{"uuid": "MIG-1", "memory": {}, "processes": []}, {"uuid": "MIG-2", "memory": {}, "processes": []}]
DIVIDED = inventory(first={"mig": {"mode": "enabled", "pending_mode": "enabled", "devices": MIG}})
NOT_NVLINK = inventory(
    topology=[{"uuids": [A, B], "path": "PHB", "nvlinks": None, "peer_access": "chipset_not_supported"}]
)
CASES = {
    "environment_not_applied": (has(unit={"OLLAMA_SCHED_SPREAD": "0"}), ["OLLAMA_SCHED_SPREAD=1 (wanted: 0)"]),
    "environment_not_planned": (
        has(planned={"gpu_uuids": [A, B], "environment": {"OLLAMA_SCHED_SPREAD": "0"}, "models": []}),
        ["OLLAMA_SCHED_SPREAD=1 (wanted: 0)", "drop-in"],
    ),
    "unit_not_reloaded": (has(properties={"NeedDaemonReload": "yes", "DropInPaths": "/x.conf"}), ["/x.conf"]),
    "visible_devices_none": (has({"CUDA_VISIBLE_DEVICES": "-1"}), ["'-1'", "none of the 2"]),
    "visible_devices_invalid": (has({"CUDA_VISIBLE_DEVICES": "%s,GPU-ff" % A}), ["'GPU-ff'", "1 of 2"]),
    "visible_devices_fewer": (has({"CUDA_VISIBLE_DEVICES": A, "OLLAMA_VULKAN": "0"}, engines=()), ["sees GPU 1 (RTX"]),
    "visible_devices_by_index": (has({"CUDA_VISIBLE_DEVICES": "0,1"}), ["CUDA_VISIBLE_DEVICES=0,1"]),
    "mig_one_device_only": (has({"CUDA_VISIBLE_DEVICES": "MIG-1,MIG-2"}, DIVIDED, engines=()), ["2 MIG devices"]),
    "vulkan_shows_hidden_gpu": (has({"CUDA_VISIBLE_DEVICES": A}, engines=()), ["hides 1 GPU", "OLLAMA_VULKAN=0"]),
    "vulkan_instead_of_cuda": (has(log=VULKAN), ["2 GPUs by Vulkan"]),
    "gpu_not_built_for": (has(facts=inventory(first={"compute_capability": "3.7"})), ["3.7", "GPU 0 (RTX A6000)"]),
    "driver_too_old": (has(facts=inventory(driver_version="535.183")), ["535.183", "550"]),
    "library_leaves_gpu_out": (
        has({"OLLAMA_LLM_LIBRARY": "cuda_v13"}, inventory(first={"compute_capability": "7.0"})),
        ["cuda_v13", "cuda_v12"],
    ),
    "kv_cache_without_kernel": (has({"OLLAMA_KV_CACHE_TYPE": "Q5_1"}), ["q5_1", "q8_0"]),
    "kv_cache_type_ignored": (has({"OLLAMA_KV_CACHE_TYPE": "q8_0"}, **OLD), ["OLLAMA_FLASH_ATTENTION=1", "0.24.0"]),
    "value_not_understood": (has({"OLLAMA_FLASH_ATTENTION": "disabled"}), ["disabled", "for true"]),
    "variable_without_effect": (has({"OLLAMA_GPU_OVERHEAD": "1000"}), ["OLLAMA_GPU_OVERHEAD=1000", "no effect"]),
    "peer_to_peer_on": (has({"GGML_CUDA_P2P": "0"}, NOT_NVLINK), ["whatever its value", "chipset_not_supported"]),
    "unified_memory_on": (has({"GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1"}), ["host's memory"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding


def test_secrets_are_not_shown():
    evidence = has({"OLLAMA_API_TOKEN": "hunter2"}, unit={"OLLAMA_API_TOKEN": "hunter3", "OLLAMA_SCHED_SPREAD": "1"})
    text = str(list(found(evidence).values()))
    assert "OLLAMA_API_TOKEN" in text and "hunter" not in text


def test_what_systemd_adds_by_itself_is_no_difference():
    given = {"OLLAMA_SCHED_SPREAD": "1"}
    assert not found(has(process=dict(given, HTTP_PROXY="http://proxy", INVOCATION_ID="1"), unit=given))


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


@pytest.mark.parametrize("value", ["1", "0", "true", "False", "", " 1 ", "'1'"])
def test_values_that_ollama_understands(value):
    assert "value_not_understood" not in found(has({"OLLAMA_FLASH_ATTENTION": value}))


def test_a_number_that_is_none():
    finding = found(has({"OLLAMA_CONTEXT_LENGTH": "many"}))["value_not_understood"]
    assert "many" in finding.evidence and finding.subject == UNIT


def test_peer_to_peer_over_nvlink_is_less_suspect():
    assert found(has({"GGML_CUDA_P2P": "1"}))["peer_to_peer_on"].confidence == "possible"
    assert not found(
        has({"CUDA_VISIBLE_DEVICES": A, "GGML_CUDA_P2P": "1", "OLLAMA_VULKAN": "0"}, engines=(engine(),))
    ).get("peer_to_peer_on")
