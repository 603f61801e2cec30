# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How a model's layers are distributed over exactly these GPUs."""

from __future__ import annotations

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, plan, sized, wanted


def test_unequal_gpus_get_a_split_that_fits():
    inventory = hosts.inventory((24564, 24100), (49140, 48600), (24564, 6000))
    result = plan(inventory, wanted("llama4-scout", context_length=4096))
    assert result["feasible"]
    for device in result["instances"][0]["models"][0]["predicted"]["devices"]:
        assert device["total_bytes"] + GIB <= device["room_bytes"]


def test_a_quantized_cache_is_refused_where_the_engine_would_go_without_flash_attention():
    inventory = dict(hosts.inventory(hosts.A6000, compute_capability="5.2"), driver_version="580.95.05")
    refused = plan(inventory, wanted("llama3.1-8b", kv_cache_type="q8_0"))
    assert not refused["feasible"]
    assert refused["models"][0]["reason"].startswith(
        "A KV cache of type q8_0 needs flash attention, which Ollama 0.32.15 does not use"
    )
    assert plan(hosts.inventory(hosts.A6000), wanted("llama3.1-8b", kv_cache_type="q8_0"))["feasible"]


def test_a_smaller_batch_where_ollamas_own_does_not_fit():
    # Ollama counts the cache as f16, so here it takes its largest batch although there is little room left.
    entry = sized("m", 2, context_length=131072, kv_cache_type="f32")
    roomy = plan(hosts.inventory(hosts.RTX4090), entry)["instances"][0]["models"][0]
    assert "num_batch" not in roomy["parameters"] and roomy["predicted"]["ubatch"] == 2048
    tight = hosts.inventory((24564, roomy["predicted"]["devices"][0]["total_bytes"] // MIB + 1024 - 150))
    result = plan(tight, entry)
    model = result["instances"][0]["models"][0]
    assert result["feasible"] and model["parameters"]["num_batch"] == 1024 == model["predicted"]["ubatch"]
    assert any("batch of 1024" in warning for warning in result["warnings"])
    assert not plan(tight, dict(entry, ubatch=2048))["feasible"]
