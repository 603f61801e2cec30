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
    "vulkan_shows_hidden_gpu": (
        has({"CUDA_VISIBLE_DEVICES": A}, engines=()),
        ["hides 1 of the 2 GPUs", "OLLAMA_VULKAN=0"],
    ),
    "vulkan_instead_of_cuda": (has(log=VULKAN), ["2 GPUs through Vulkan"]),
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
