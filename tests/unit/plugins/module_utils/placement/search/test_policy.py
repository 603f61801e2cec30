# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""All models of a host: replicas, and what the plan sets where models share GPUs."""

from __future__ import annotations

from tests.unit.plugins.module_utils.placement.builders import TWO_4090, TWO_A6000, outline, plan, wanted


def test_the_only_model_is_replicated_where_it_fits_one_gpu():
    result = plan(TWO_4090, wanted("llama3.1-8b"))
    assert outline(result) == [
        ("gpu0", "llama3.1-8b:latest-optimized", [33]),
        ("gpu1", "llama3.1-8b:latest-optimized", [33]),
    ]
    assert [instance["port"] for instance in result["instances"]] == [11434, 11435]
    assert all("OLLAMA_SCHED_SPREAD" not in instance["environment"] for instance in result["instances"])
    assert len(plan(TWO_4090, wanted("llama3.1-8b", replicas=1))["instances"]) == 1
    assert "1 of the 3" not in " ".join(plan(TWO_4090, wanted("llama3.1-8b", replicas=3))["warnings"])
    assert "2 of the 3" in " ".join(plan(TWO_4090, wanted("llama3.1-8b", replicas=3))["warnings"])


def test_a_split_beside_other_models_does_not_depend_on_the_order_of_loading():
    result = plan(TWO_A6000, wanted("llama3.1-8b"), wanted("llama4-scout"))
    split = next(instance for instance in result["instances"] if instance["name"] == "gpu0-1")
    assert split["environment"]["LLAMA_ARG_TENSOR_SPLIT"] == "25,24"


def test_what_depends_on_the_order_of_loading_is_written_down():
    result = plan(TWO_A6000, wanted("llama3.1-8b", context_length=40000), wanted("llama4-scout", context_length=32768))
    for instance in result["instances"]:
        for model in instance["models"]:
            assert model["parameters"]["num_batch"] == model["predicted"]["ubatch"]
    alone = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))["instances"][0]["models"][0]
    assert "num_batch" not in alone["parameters"]
