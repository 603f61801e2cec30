# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The ways in which one model can be put on a host."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import (
    GIB,
    MIB,
    TWO_4090,
    TWO_A6000,
    outline,
    plan,
    sized,
    wanted,
    where,
)
from tests.unit.plugins.module_utils.placement.cases import plan_of


def test_llama4_is_split_over_two_gpus_that_cannot_hold_it_alone():
    result = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))
    assert outline(result) == [("gpu0-1", "llama4:16x17b-optimized", [25, 24])]
    instance = result["instances"][0]
    model = instance["models"][0]
    assert result["feasible"] and result["models"][0]["strategy"] == "split"
    assert instance["unit"] == "ollama@gpu0-1.service" and instance["url"] == "http://127.0.0.1:11434"
    assert instance["environment"]["CUDA_VISIBLE_DEVICES"] == ",".join(gpu["uuid"] for gpu in TWO_A6000["gpus"])
    assert (
        instance["environment"]["OLLAMA_SCHED_SPREAD"] == "1"
        and instance["environment"]["OLLAMA_CONTEXT_LENGTH"] == "32768"
    )
    assert model["parameters"] == {"num_ctx": 32768, "num_gpu": 999} and model["expected"] == {"outcome": "split"}
    first, second = model["predicted"]["devices"]
    assert model["predicted"]["ubatch"] == 1024 and model["predicted"]["fully_on_gpu"]
    assert [round(first[key] / MIB) for key in ("weight_bytes", "kv_bytes", "compute_bytes")] == [31659, 1452, 764]
    assert [round(second[key] / MIB) for key in ("weight_bytes", "kv_bytes", "compute_bytes")] == pytest.approx(
        [30105, 1380, 664], abs=1
    )
    for device in (first, second):
        parts = ("weight_bytes", "kv_bytes", "compute_bytes", "projector_bytes", "overhead_bytes")
        assert device["total_bytes"] == sum(device[key] for key in parts)


def test_spread_takes_all_gpus_though_one_would_do():
    result = plan(TWO_4090, wanted("llama3.1-8b", strategy="spread"))
    assert outline(result) == [("gpu0-1", "llama3.1-8b:latest-optimized", [17, 16])]
    assert result["instances"][0]["environment"]["OLLAMA_SCHED_SPREAD"] == "1"


def test_layers_on_the_cpu_only_where_they_are_allowed():
    result = plan(TWO_4090, wanted("llama3.3-70b", context_length=32768, allow_cpu_offload=True))
    model = result["instances"][0]["models"][0]
    assert model["expected"]["outcome"] == "partial" and "num_gpu" not in model["parameters"]
    assert 0 < model["predicted"]["gpu_layers"] < 81 and model["predicted"]["host_bytes"] > GIB


def test_a_split_model_is_not_squeezed_into_one_gpu():
    def single(free):
        return where(plan(hosts.inventory((24564, free), (24564, 12000)), sized("m", 18))) == {"m": ["gpu0"]}

    size = next(free for free in range(19000, 24000, 10) if single(free))
    low, high = hosts.inventory((24564, size - 40), (24564, 12000)), hosts.inventory((24564, size + 40), (24564, 12000))
    before = plan(low, sized("m", 18))
    assert where(before) == {"m": ["gpu0-1"]} and where(plan(high, sized("m", 18))) == {"m": ["gpu0"]}
    assert where(plan(high, sized("m", 18), applied_plan=before)) == {"m": ["gpu0-1"]}
    assert where(plan(hosts.inventory((49140, 48600), (24564, 12000)), sized("m", 18), applied_plan=before)) == {
        "m": ["gpu0"]
    }


def test_a_model_is_spread_over_as_many_gpus_as_one_process_can_use():
    result = plan_of("sixteen-gpus")
    assert [len(instance["gpu_uuids"]) for instance in result["instances"]] == [15]
    assert any("spread over 15 of the 16 GPUs" in warning for warning in result["warnings"])
    again = plan_of("sixteen-gpus", applied_plan=result)
    assert again["instances"][0]["gpu_uuids"] == result["instances"][0]["gpu_uuids"]


def test_a_model_that_needs_sixteen_gpus_is_refused():
    # Small GPUs, so that no fifteen of them hold it.
    inventory = hosts.inventory(*[(4096, 4000)] * 18)
    result = plan(inventory, wanted("llama3.3-70b"))
    assert not result["feasible"]
    assert all(len(way["gpu_uuids"]) <= 15 for way in result["models"][0]["alternatives"])


def test_gpus_of_different_libraries_are_no_set():
    # GB300 beside an RTX PRO 6000: Ollama takes cuda_v13 for the one and cuda_v12 for the other.
    inventory = dict(hosts.inventory(hosts.RTX4090, hosts.RTX4090, hosts.RTX4090), driver_version="580.95.05")
    for gpu, capability in zip(inventory["gpus"], ("10.3", "12.0", "12.0")):
        gpu["compute_capability"] = capability
    split = plan(inventory, wanted("llama3.3-70b"))
    assert split["instances"][0]["gpu_uuids"] == [gpu["uuid"] for gpu in inventory["gpus"][1:]]
    spread = plan(inventory, wanted("llama3.1-8b", strategy="spread"))
    assert len(spread["instances"][0]["gpu_uuids"]) == 2
    asked = {"OLLAMA_LLM_LIBRARY": "cuda_v13"}
    spread = plan(inventory, wanted("llama3.1-8b", strategy="spread"), environment=asked)
    assert len(spread["instances"][0]["gpu_uuids"]) == 3
