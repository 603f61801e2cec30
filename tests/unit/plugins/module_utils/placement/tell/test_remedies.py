# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every remedy that a plan names is applied, and the plan is feasible then."""

from __future__ import annotations

import copy
import dataclasses
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import ModelFacts
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.remedies import scaled

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, TWO_4090, plan, sized, wanted


def apply(remedy, inventory, entries, name, options):
    """(inventory, entries, options) after what a sentence says was done, read as a user would."""
    inventory, entries, options = copy.deepcopy(inventory), copy.deepcopy(entries), dict(options)
    entry = next(item for item in entries if item["name"] == name)
    key, text = remedy.split(": ", 1) if ": " in remedy else (remedy, "")
    number = re.search(r"\d+", text)
    gpus = inventory["gpus"]
    if key in ("context_length", "parallel", "ubatch", "headroom_bytes", "cpu_experts"):
        entry[key] = int(number.group(0))
    elif key in ("strategy", "kv_cache_type"):
        entry[key] = text.split(" ")[0].rstrip(",")
    elif key == "allow_cpu_offload":
        entry[key] = True
        if "without cpu_experts" in text:
            del entry["cpu_experts"]
    elif key == "OLLAMA_LLM_LIBRARY":
        options["environment"] = {key: text.split(" ")[0]}
    elif key == "quantization":
        smaller = scaled(ModelFacts.of(entry["model"]), int(number.group(0)))
        entry["model"] = dataclasses.asdict(smaller)
    elif key == "compute mode":
        for gpu in gpus:
            gpu["compute_mode"] = "default"
    elif key == "selectors":
        options["selectors"] = options["selectors"] + (
            [number.group(0)] if text.startswith("GPU") else [gpu["uuid"] for gpu in gpus]
        )
    elif key.startswith("GPU "):
        gpu = next(gpu for gpu in gpus if gpu["uuid"] == key.split(" ")[1])
        gpu.update(compute_mode="default", health={"state": "ok", "reasons": []})
    elif key == "more GPUs":
        size = float(re.search(r"([\d.]+) GiB", text).group(1)) * GIB
        total = max([size] + [gpu["memory"]["total_bytes"] for gpu in gpus])
        more = hosts.inventory(*[(int(total // MIB) + 1, int(size // MIB) + 60)] * (len(gpus) + int(number.group(0))))[
            "gpus"
        ]
        gpus.extend(dict(gpu, name=gpus[0]["name"] if gpus else gpu["name"]) for gpu in more[len(gpus) :])
        inventory["state"] = "ok"
        if options.get("selectors"):
            options["selectors"] = options["selectors"] + [gpu["uuid"] for gpu in gpus[-int(number.group(0)) :]]
    elif remedy.startswith("other processes use"):
        for gpu in gpus:
            if gpu["uuid"] in remedy:
                gpu["memory"]["free_bytes"] += sum(process["used_bytes"] for process in gpu["processes"])
                gpu["processes"] = []
    else:
        raise AssertionError("no test knows how to apply: %s" % remedy)
    return inventory, entries, options


def all_true(inventory, *entries, **options):
    """Names (words before the colon) of the remedies of the first model without a place, each applied with success."""
    result = plan(inventory, *entries, **options)
    assert not result["feasible"] and result["instances"] == []
    report = next(item for item in result["models"] if item["remedies"])
    for remedy in report["remedies"]:
        after, changed, settings = apply(remedy, inventory, entries, report["name"], options)
        assert plan(after, *changed, **settings)["feasible"], remedy
    return [re.split(r"[: ]", remedy)[0] for remedy in report["remedies"]]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"context_length": 16384}, ["context_length", "kv_cache_type", "quantization", "more", "allow_cpu_offload"]),
        ({"context_length": 16384, "strategy": "single"}, ["quantization", "allow_cpu_offload"]),
        ({"context_length": 4096, "strategy": "single"}, ["strategy", "quantization", "allow_cpu_offload"]),
        (
            {"context_length": 8192, "parallel": 4},
            ["parallel", "context_length", "kv_cache_type", "quantization", "more", "allow_cpu_offload"],
        ),
        (
            {"context_length": 8192, "headroom_bytes": 4 * GIB},
            ["headroom_bytes", "quantization", "more", "allow_cpu_offload"],
        ),
        (
            {"context_length": 8192, "ubatch": 8192},
            ["ubatch", "context_length", "quantization", "more", "allow_cpu_offload"],
        ),
    ],
)
def test_a_model_that_is_too_big(settings, words):
    assert all_true(TWO_4090, wanted("llama3.3-70b", **settings)) == words


def test_gpus_that_are_not_used():
    four = hosts.inventory(*[hosts.RTX4090] * 4)
    assert "selectors" in all_true(four, wanted("llama3.3-70b"), selectors=["0"])
    assert "selectors" in all_true(four, wanted("llama4-scout"), selectors=["2"])
    prohibited = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
    prohibited["gpus"][1]["compute_mode"] = "prohibited"
    assert "GPU" in all_true(prohibited, wanted("llama3.3-70b"))
    broken = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
    broken["gpus"][0]["health"] = {"state": "unusable", "reasons": ["row remapping failed"]}
    assert "GPU" in all_true(broken, wanted("llama3.3-70b"))
    exclusive = hosts.inventory(hosts.A6000, compute_mode="exclusive_process")
    assert all_true(exclusive, wanted("llama3.1-8b"), wanted("qwen3-8b")).count("compute") == 1


def of_libraries(first, second):
    """Two GPUs of these compute capabilities, under a driver that is new enough for both libraries."""
    inventory = dict(hosts.inventory(hosts.RTX4090, hosts.RTX4090), driver_version="580.95.05")
    for gpu, capability in zip(inventory["gpus"], (first, second)):
        gpu["compute_capability"] = capability
    return inventory


def test_one_library_for_gpus_that_would_get_different_ones():
    assert "OLLAMA_LLM_LIBRARY" in all_true(of_libraries("10.3", "12.0"), wanted("llama3.3-70b", context_length=4096))
    # None of the libraries is for both.
    report = plan(of_libraries("10.3", "7.0"), wanted("llama3.3-70b", context_length=4096))["models"][0]
    assert not any("OLLAMA_LLM_LIBRARY" in remedy for remedy in report["remedies"])
    assert "different CUDA libraries" in report["reason"] and "GiB" in report["reason"]


def test_experts_on_the_host_and_layers_on_the_host_exclude_each_other():
    found = all_true(hosts.inventory((16380, 15900)), wanted("qwen3-30b-a3b", cpu_experts="2"))
    assert {"cpu_experts", "allow_cpu_offload"} <= set(found)


def test_a_cache_type_that_old_gpus_cannot_use():
    old = dict(hosts.inventory(hosts.RTX4090, compute_capability="5.2"), driver_version="580.95.05")
    assert "kv_cache_type" in all_true(old, wanted("llama3.1-8b", kv_cache_type="q4_0"))


def test_a_computer_whose_gpu_shares_its_memory_takes_no_further_gpu():
    jetson = dict(hosts.inventory(hosts.RTX4090, compute_capability="8.7"), driver_version="580.95.05")
    assert "more" in all_true(jetson, wanted("llama3.1-8b"), ollama_version="0.30.2")
    jetson["gpus"][0]["memory"]["kind"] = "unified"
    assert all_true(jetson, wanted("llama3.1-8b"), ollama_version="0.30.2") == ["allow_cpu_offload"]


def test_foreign_processes():
    busy = hosts.with_process(hosts.with_process(TWO_4090, 0, 10000, "other.service"), 1, 9000, "other.service")
    found = all_true(busy, wanted("llama3.3-70b", context_length=4096))
    assert "other" in found
    report = plan(busy, wanted("llama3.3-70b", context_length=4096))["models"][0]
    assert any("9.8 GiB of GPU 0" in remedy and "8.8 GiB of GPU 1" in remedy for remedy in report["remedies"])


def test_several_models_of_which_one_has_no_place():
    found = all_true(hosts.inventory(hosts.A6000), wanted("qwen3-32b"), wanted("llama3.3-70b"))
    assert found and "allow_cpu_offload" in found
    # What would help only one of two models without a place still helps that one.
    both = plan(hosts.inventory((8192, 8000)), wanted("qwen3-32b"), sized("other", 30))
    assert not both["feasible"] and all(report["remedies"] for report in both["models"])


def test_a_remedy_that_would_not_help_is_not_named():
    report = plan(hosts.inventory((4096, 4000)), wanted("llama4-scout"))["models"][0]
    assert [remedy.split(":")[0] for remedy in report["remedies"]] == ["allow_cpu_offload"]
    single = plan(hosts.inventory((24564, 24000)), wanted("llama4-scout", strategy="single"))["models"][0]
    assert not any(remedy.startswith(("strategy", "context_length", "more GPUs")) for remedy in single["remedies"])


def test_without_a_gpu():
    none = {"state": "no_devices", "reason": "no GPU", "remedy": None, "gpus": [], "no_gpu_present": True}
    assert all_true(none, wanted("llama3.1-8b")) == ["more", "allow_cpu_offload"]


def test_the_cheapest_first():
    busy = hosts.with_process(TWO_4090, 0, 3000, "other.service")
    report = plan(busy, wanted("llama3.3-70b", context_length=16384, parallel=2))["models"][0]
    order = (
        "parallel",
        "context_length",
        "kv_cache_type",
        "quantization",
        "other processes",
        "more GPUs",
        "allow_cpu_offload",
    )
    places = [
        next(place for place, word in enumerate(order) if remedy.startswith(word)) for remedy in report["remedies"]
    ]
    assert places == sorted(places) and len(places) >= 3


def test_too_big_names_the_shortfall_and_the_remedies_in_order():
    result = plan(TWO_4090, wanted("llama3.3-70b", context_length=16384))
    report = result["models"][0]
    assert not result["feasible"] and result["instances"] == []
    assert 0 < report["shortfall_bytes"] < 2 * GIB
    words = [remedy.split(":")[0].split(" ")[0] for remedy in report["remedies"]]
    assert words == ["context_length", "kv_cache_type", "quantization", "more", "allow_cpu_offload"]
    tokens = int(report["remedies"][0].split("at most ")[1].split(" ")[0])
    assert plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens))["feasible"]
    assert not plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens + 1024))["feasible"]
    assert plan(TWO_4090, wanted("llama3.3-70b", context_length=16384, kv_cache_type="q8_0"))["feasible"]


def test_reserved_memory_counts_where_the_release_counts_it():
    reserved = {"OLLAMA_GPU_OVERHEAD": 20 * GIB}
    assert plan(TWO_4090, wanted("llama3.1-8b"), environment=reserved)["feasible"]
    result = plan(TWO_4090, wanted("llama3.1-8b"), environment=reserved, ollama_version="0.24.0")
    assert not result["feasible"] and "own estimate" in result["models"][0]["reason"]
    assert result["models"][0]["remedies"][0].startswith("OLLAMA_GPU_OVERHEAD: without this variable the model fits")
    assert plan(TWO_4090, wanted("llama3.1-8b"), environment={"OLLAMA_GPU_OVERHEAD": GIB}, ollama_version="0.24.0")[
        "feasible"
    ]


def test_a_smaller_cache_is_no_remedy_where_the_heads_have_no_kernel():
    entry = sized("m", 15, context_length=65536, blocks=24)
    inventory = hosts.inventory(hosts.RTX4090)

    def names(head):
        facts = dict(entry["model"], key_length=head, value_length=head, embedding_length=32 * head)
        found = plan(inventory, dict(entry, model=facts))["models"][0]["remedies"]
        return [remedy.split(":")[0] for remedy in found]

    assert "kv_cache_type" in names(256) and "kv_cache_type" not in names(224)
