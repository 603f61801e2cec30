# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the engine of a release cannot do."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import limits, versions

from tests.oracle import models, table
from tests.unit.plugins.module_utils.releases.loads import gpus, request

NEWEST = (0, 32, 15)


@pytest.mark.parametrize(
    "version, architecture, words",
    [
        (NEWEST, "llama", None),
        (NEWEST, None, None),
        # Ollama's own names, which llama/compat translates.
        (NEWEST, "gptoss", None),
        (NEWEST, "qwen25vl", None),
        ((0, 30, 0), "mllama", ["b9452", "0.24.0 is the last release"]),
        ((0, 35, 1), "mllama", ["0.24.0 is the last release"]),
        (NEWEST, "solar", ["b10488", "0.24.0 is the last release"]),
        (NEWEST, "invented", ["'invented'", "another model"]),
        ((0, 30, 0), "laguna", ["use Ollama 0.30.1 or later"]),
        ((0, 32, 2), "minimax-m3", ["use Ollama 0.32.3 or later"]),
        ((0, 32, 3), "minimax-m3", None),
        ((0, 35, 1), "invented", None),
    ],
)
def test_an_architecture_that_the_engine_does_not_have(version, architecture, words):
    refusal = limits.refused_architecture(version, architecture)
    assert (refusal is None) is (words is None)
    assert all(word in (refusal or "") for word in words or ())


def test_an_architecture_that_only_a_newer_release_may_have():
    assert "0.35.1" in limits.doubted_architecture((0, 35, 1), "invented")
    assert limits.doubted_architecture((0, 35, 1), "llama") is None
    assert limits.doubted_architecture(NEWEST, "invented") is None


@pytest.mark.parametrize(
    "cache_type, heads, words",
    [
        ("f16", (48, 48), None),
        ("bf16", (128, 128), None),
        ("q8_0", (128, 128), None),
        ("q4_0", (192, 128), None),
        ("q5_1", (128, 128), ["q5_1", "f16, q8_0, q4_0"]),
        ("q5_0", (128, 128), ["q5_0"]),
        ("q4_1", (128, 128), ["q4_1"]),
        ("iq4_nl", (128, 128), ["iq4_nl"]),
        ("q8_0", (160, 160), ["heads of 160 and 160", "use f16"]),
        ("q8_0", (128, 64), ["heads of 128 and 64"]),
    ],
)
def test_a_cache_without_a_kernel(cache_type, heads, words):
    model = dataclasses.replace(models.facts("llama3.1-8b"), key_length=heads[0], value_length=heads[1])
    refusal = limits.refused_cache(NEWEST, model, cache_type)
    assert (refusal is None) is (words is None)
    assert all(word in (refusal or "") for word in words or ())


@pytest.mark.parametrize("name", ["mamba-2.8b", "mamba2-130m", "rwkv7-2.9b", "bge-m3"])
def test_the_cache_of_a_model_that_has_none_needs_no_kernel(name):
    """llama-server of build 11669 loads them with q8_0 and --flash-attn auto."""
    assert [limits.refused_cache(NEWEST, table.facts(name), kind) for kind in ("q8_0", "q5_1")] == [None, None]
    assert "q5_1" in limits.refused_cache(NEWEST, table.facts("falcon-h1-7b"), "q5_1")


def test_a_release_before_0_30_knows_three_cache_types():
    release = versions.release_of("0.24.0")
    assert release.refused_cache(models.facts("llama3.1-8b"), "q8_0") is None
    assert "0.24.0, which takes f16 instead" in release.refused_cache(models.facts("llama3.1-8b"), "bf16")


def test_a_process_has_at_most_fifteen_gpus():
    assert limits.refused_set(NEWEST, gpus(*[24] * 15)) is None
    assert "at most 15 GPUs, and these are 16" in limits.refused_set(NEWEST, gpus(*[24] * 16))


def test_gpus_of_one_process_need_one_library():
    both, new, old = ("cuda_v13", "cuda_v12"), ("cuda_v13",), ("cuda_v12",)
    pair = gpus(24, 24)
    for one, other, words in ((both, both, None), (old, both, None), (new, both, "LIBRARY: cuda_v13"), (new, old, "")):
        listed = [dict(pair[0], libraries=one), dict(pair[1], libraries=other)]
        refusal = limits.refused_set(NEWEST, listed)
        assert (refusal is None) is (words is None) and (words or "") in (refusal or "")


@pytest.mark.parametrize("version", ["0.32.15", "0.11.4"])
@pytest.mark.parametrize("count, outcome, words", [(15, "split", None), (16, None, "16 GPUs"), (17, "cpu", None)])
def test_what_becomes_of_a_load_that_goes_to_all_gpus(version, count, outcome, words):
    load = request(models.facts("llama3.3-70b"), gpus(*[7] * count), {"num_ctx": 4096}, {})
    decision = versions.release_of(version).decide(load)
    assert decision.outcome == outcome
    assert (words or "") in (decision.error or "") and bool(decision.error) is bool(words)


def test_a_model_that_goes_to_one_of_sixteen_gpus_loads():
    load = request(models.facts("llama3.1-8b"), gpus(*[24] * 16), {"num_ctx": 4096}, {})
    decision = versions.release_of("0.32.15").decide(load)
    assert (decision.outcome, decision.error) == ("single", None)
    spread = dataclasses.replace(load, environment={"OLLAMA_SCHED_SPREAD": "1"})
    assert versions.release_of("0.32.15").decide(spread).outcome is None
    shown = dict(spread.environment, CUDA_VISIBLE_DEVICES=",".join(str(place) for place in range(15)))
    assert versions.release_of("0.32.15").decide(dataclasses.replace(load, environment=shown)).outcome == "split"


def test_what_is_said_of_a_host_with_too_many_gpus():
    assert limits.of_host(NEWEST, 15) is None
    assert "its load ends" in limits.of_host(NEWEST, 16)
    assert "on the CPU" in limits.of_host(NEWEST, 20)


def test_the_build_of_a_release():
    assert limits.build(NEWEST) == "b10488" and limits.build((0, 32, 12)) == "b10380"
