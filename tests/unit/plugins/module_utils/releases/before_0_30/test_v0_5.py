# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama up to 0.11.4."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)

from tests.unit.plugins.module_utils.releases.loads import GIB, decide, gpus, model, replayed


def test_every_recorded_decision_of_0_11_4_is_made_alike():
    assert replayed("A") == (406, [])


def test_until_0_11_4_ollama_never_counts_less_than_2048_tokens():
    facts = model("llama3.1-8b")
    small, least, more = (decide(v0_5, facts, gpus(24), {"num_ctx": tokens}) for tokens in (512, 2048, 4096))
    assert small.context_length == 512
    assert small.predicted_bytes == least.predicted_bytes < more.predicted_bytes


def test_a_host_without_gpus_has_no_flash_attention_until_0_11_4():
    facts, options = model("llama3.1-8b"), {"num_ctx": 32768}
    quantized = {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": "q8_0"}
    plain, asked = (decide(v0_5, facts, [], options, values) for values in ({}, quantized))
    assert (asked.flash_attention, asked.estimate.kv) == ("off", plain.estimate.kv)
    # With GPUs that are there but not used, the estimate counts on it, and the runner does not get it (llm/server.go,
    # NewLlamaServer).
    unused = decide(v0_5, facts, gpus(24), dict(options, num_gpu=0), quantized)
    assert unused.flash_attention == "off" and unused.estimate.kv < plain.estimate.kv
    assert decide(v0_11_5, facts, [], options, quantized).estimate.kv < plain.estimate.kv


def test_a_load_on_the_host_beside_another_model_evicts_it_where_memory_is_short():
    # server/sched.go, maybeFindCPURunnerToUnload (0.11.4); llm/memory.go, predictServerFit (0.11.7).
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096, "num_gpu": 0}
    short, enough = ({"free_bytes": size * GIB, "swap_bytes": 64 * GIB} for size in (4, 64))
    beside = [{}]
    assert [
        decide(v0_5, facts, gpus(24), options, residents=beside, system=system).outcome for system in (short, enough)
    ] == ["evict", "cpu"]
    assert decide(v0_5, facts, gpus(24), options, system=short).outcome == "cpu"
    assert [
        decide(v0_11_5, facts, gpus(24), options, residents=beside, system=enough, version=(0, 11, patch)).outcome
        for patch in (6, 7)
    ] == ["evict", "cpu"]


def test_the_least_context_of_the_estimator_by_version():
    # llm/memory.go, EstimateGPULayers: for every model from 0.7.1, before with a projector only.
    facts, seeing = model("llama3.1-8b"), model("llama3.1-8b", "proj-llava")
    options = {"num_ctx": 512}
    kv = [
        decide(v0_5, facts, gpus(24), options, {"OLLAMA_NUM_PARALLEL": "1"}, version=version).estimate.kv
        for version in ((0, 7, 0), (0, 7, 1))
    ]
    assert kv[1] == 4 * kv[0]
    assert decide(v0_5, seeing, gpus(24), options, {"OLLAMA_NUM_PARALLEL": "1"}, version=(0, 7, 0)).estimate.kv == kv[1]


def test_all_gpus_are_taken_until_0_11_4_and_the_fewest_later():
    facts, host, options = model("llama3.3-70b"), gpus(30, 30, 30, 30), {"num_ctx": 4096}
    assert decide(v0_5, facts, host, options).gpus == [0, 1, 2, 3]
    for rules in (v0_11_5, v0_11_11, v0_12_11):
        assert decide(rules, facts, host, options).gpus == [0, 1]
