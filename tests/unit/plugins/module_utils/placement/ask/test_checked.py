# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the release that is planned for changes in a request: GPUs that it would leave out, slots of a model."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import TWO_4090, plan, wanted
from tests.unit.plugins.module_utils.placement.cases import arguments, plan_of, refusal_of


@pytest.mark.parametrize(
    "driver, capability, words",
    [
        ("535.129.03", "8.6", ["driver 550", "535.129.03"]),
        ("560.35.03", "6.1", ["driver 570"]),
        ("580.95.05", "3.7", ["compute capability 5.0"]),
    ],
)
def test_gpus_that_this_ollama_would_leave_out_are_not_planned_with(driver, capability, words):
    inventory = dict(hosts.inventory(hosts.A6000, compute_capability=capability), driver_version=driver)
    result = plan(inventory, wanted("llama3.1-8b"))
    assert all(word in result["models"][0]["reason"] for word in words)
    assert plan(inventory, wanted("llama3.1-8b"), ollama_version="0.24.0")["feasible"] is ("3.7" != capability)
    assert not result["feasible"] and all(word in " ".join(result["warnings"]) for word in words)
    assert plan(
        dict(inventory, driver_version="580.95.05", gpus=hosts.inventory(hosts.A6000)["gpus"]), wanted("llama3.1-8b")
    )["feasible"]


def test_a_b200_whose_driver_is_too_old_for_the_only_library_that_is_built_for_it():
    result = plan_of("b200-driver570")
    words = ["0.32.1", "compute capability 10.0 below driver 580", "570.124.06", "use driver 580 or Ollama 0.32.2"]
    assert not result["feasible"] and all(word in result["models"][0]["reason"] for word in words)
    assert plan_of("b200-driver570", ollama_version="0.32.2")["feasible"]


def test_a_library_that_the_release_does_not_have():
    refusal = refusal_of("library-v11")
    assert all(word in refusal for word in ("OLLAMA_LLM_LIBRARY", "'cuda_v11'", "0.32.15", "cuda_v12", "cuda_v13"))
    for library in ("cuda", "cuda_v14", "cuda_jetpack7"):
        assert library in refusal_of("library-v11", environment={"OLLAMA_LLM_LIBRARY": library})


@pytest.mark.parametrize("library, driver", [("cuda_jetpack6", "580.95.05"), ("cuda_v13", "570.1")])
def test_a_library_that_finds_no_gpu_of_the_host(library, driver):
    inventory = dict(hosts.inventory(hosts.A6000), driver_version=driver)
    refusal = refusal_of("library-v11", gpu_inventory=inventory, environment={"OLLAMA_LLM_LIBRARY": library})
    assert "finds no GPU of this host" in refusal and "leave the variable out, or give cuda_v" in refusal


def test_a_library_that_finds_only_a_part_of_the_gpus():
    inventory = dict(hosts.inventory(hosts.A6000, hosts.A6000), driver_version="580.95.05")
    inventory["gpus"][0]["compute_capability"] = "7.0"
    environment = {"OLLAMA_LLM_LIBRARY": "cuda_v13"}
    result = plan_of("library-v11", gpu_inventory=inventory, environment=environment)
    used = [device["uuid"] for device in result["instances"][0]["models"][0]["predicted"]["devices"]]
    assert used == [inventory["gpus"][1]["uuid"]] and len(result["instances"]) == 1
    assert any("OLLAMA_LLM_LIBRARY cuda_v13 leaves it out" in warning for warning in result["warnings"])


def test_a_model_that_ollama_serves_one_request_at_a_time():
    entry = wanted("qwen3-8b", parallel=4)
    entry["model"] = dict(entry["model"], architecture="qwen3vl")
    result = plan(TWO_4090, entry)
    assert result["instances"][0]["environment"]["OLLAMA_NUM_PARALLEL"] == "1" and any(
        "one request at a time" in warning for warning in result["warnings"]
    )


@pytest.mark.parametrize(
    "case, model, words",
    [
        ("mllama", {}, ["'mllama'", "0.32.15", "0.24.0"]),
        ("mllama", {"architecture": "invented"}, ["'invented'", "another model"]),
        ("mllama", {"architecture": "solar"}, ["'solar'", "0.24.0"]),
    ],
)
def test_architectures_that_the_engine_does_not_have(case, model, words):
    facts = dict(arguments(case)["models"][0]["model"], **model)
    refusal = refusal_of(case, {"model": facts})
    assert all(word in refusal for word in words)


def test_an_architecture_on_the_release_that_has_it():
    assert plan_of("mllama", ollama_version="0.24.0")["feasible"]
    facts = dict(arguments("mllama")["models"][0]["model"], architecture="gptoss")
    assert plan_of("mllama", {"model": facts})["feasible"]
    unknown = plan_of("mllama", {"model": dict(facts, architecture="invented")}, ollama_version="0.35.1")
    assert any("'invented' is not known" in warning for warning in unknown["warnings"])


@pytest.mark.parametrize("cache_type", ["q5_1", "q5_0", "q4_1", "iq4_nl"])
def test_cache_types_without_a_kernel_for_cuda(cache_type):
    for refusal in (
        refusal_of("kv-q5_1", {"kv_cache_type": cache_type}),
        refusal_of("kv-q5_1", {"kv_cache_type": None}, environment={"OLLAMA_KV_CACHE_TYPE": cache_type}),
    ):
        assert cache_type in refusal and "use one of f16, q8_0, q4_0" in refusal
    on_the_cpu = {"kv_cache_type": cache_type, "allow_cpu_offload": True}
    assert plan_of("kv-q5_1", on_the_cpu, selectors=[])["feasible"]


@pytest.mark.parametrize("cache_type", ["f16", "bf16", "q8_0", "q4_0"])
def test_cache_types_with_a_kernel_for_cuda(cache_type):
    assert plan_of("kv-q5_1", {"kv_cache_type": cache_type})["feasible"]


def test_the_remedy_for_an_old_driver_is_another_one():
    assert plan_of("b200-driver570")["models"][0]["remedies"][0] == "use driver 580 or Ollama 0.32.2, and run again"
    divided = hosts.inventory(hosts.A6000)
    divided["gpus"][0]["mig"] = {"mode": "enabled", "devices": []}
    report = plan(divided, wanted("llama3.1-8b"))["models"][0]
    assert report["remedies"][0] == "mend the GPU as the reason says, and run again" and "MIG is on" in report["reason"]


def test_gpus_that_would_get_different_libraries_and_one_that_is_not_known():
    inventory = dict(hosts.inventory(hosts.A6000, hosts.A6000), driver_version="610.1")
    for gpu, capability in zip(inventory["gpus"], ("13.0", "7.0")):
        gpu["compute_capability"] = capability
    result = plan(inventory, wanted("llama3.1-8b"), ollama_version="0.35.1")
    assert result["feasible"] and any("compute capability 13.0 is not known" in note for note in result["warnings"])
    assert any("different CUDA libraries" in note for note in result["warnings"])


def test_a_library_that_only_a_jetson_has_is_said_apart():
    assert "are cuda_v12, cuda_v13 (on a Jetson also cuda_jetpack5, cuda_jetpack6)" in refusal_of("library-v11")
