# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Releases before 0.30 are planned as their own estimate decides."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import ONE_A6000, TWO_A6000, plan, wanted, where

OLDER = ["0.5.13", "0.11.4", "0.11.8", "0.12.3", "0.13.5", "0.24.0"]


@pytest.mark.parametrize("version", OLDER)
def test_releases_before_0_30_are_planned_as_they_decide_themselves(version):
    result = plan(TWO_A6000, wanted("llama3.1-8b"), ollama_version=version)
    assert [instance["name"] for instance in result["instances"]] == ["gpu0", "gpu1"] and result[
        "engine"
    ] == "ollama runner"
    split = plan(TWO_A6000, wanted("llama3.3-70b", strategy="split"), ollama_version=version)
    model = split["instances"][0]["models"][0]
    assert split["instances"][0]["environment"]["OLLAMA_SCHED_SPREAD"] == "1" and "num_gpu" not in model["parameters"]
    assert (
        sum(device["layers"] for device in model["predicted"]["devices"]) == 81 and model["predicted"]["ubatch"] == 512
    )


def test_what_an_old_release_s_own_estimate_refuses_is_infeasible_and_says_so():
    result = plan(
        hosts.inventory((24564, 23000), (24564, 23000)),
        wanted("llama3.3-70b", context_length=4096),
        ollama_version="0.11.4",
    )
    assert (
        not result["feasible"]
        and "own estimate" in result["models"][0]["reason"]
        and "0.11.4" in result["models"][0]["reason"]
    )
    assert plan(hosts.inventory((24564, 23000), (24564, 23000)), wanted("llama3.3-70b", context_length=4096))[
        "feasible"
    ]


@pytest.mark.parametrize("version", OLDER)
def test_models_that_an_older_release_keeps_loaded_beside_each_other_share_an_instance(version):
    entries = [wanted("llama3.1-8b"), wanted("qwen3-8b"), wanted("qwen3-0.6b")]
    result = plan(ONE_A6000, *entries, ollama_version=version)
    assert dict(where(result).items()) == {"llama3.1-8b": ["gpu0"], "qwen3-8b": ["gpu0"], "qwen3-0.6b": ["gpu0"]}
    assert result["instances"][0]["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "3"
    split = plan(
        TWO_A6000,
        wanted("llama3.3-70b", strategy="split", context_length=4096),
        wanted("qwen3-14b", strategy="split"),
        ollama_version=version,
    )
    assert [item["name"] for item in split["instances"]] == ["gpu0-1"]


def test_models_that_an_older_release_would_unload_for_each_other_get_an_instance_each():
    """0.5.13 counts the whole KV cache of gpt-oss, where the engine keeps a window: it fits alone, not with another."""

    def instances(free):
        return [
            item["name"]
            for item in plan(hosts.inventory((free + 200, free)), *entries, ollama_version="0.5.13")["instances"]
        ]

    entries = [wanted("gpt-oss-20b", context_length=65536, headroom_bytes=0), wanted("llama3.1-8b", headroom_bytes=0)]
    assert instances(22000) == ["gpu0", "gpu0b"] and instances(30000) == ["gpu0"]


def test_what_an_older_release_counts_for_a_loaded_model_is_taken_off():
    """It takes what it counted off the total: both have room, but by its own sum the second has not."""

    def instances(free):
        return [
            item["name"]
            for item in plan(hosts.inventory((free + 200, free)), *entries, ollama_version="0.5.13")["instances"]
        ]

    entries = [wanted("llama3.1-8b", context_length=65536, headroom_bytes=0)]
    entries.append(dict(entries[0], name="another:8b"))
    assert instances(33000) == ["gpu0", "gpu0b"] and instances(40000) == ["gpu0"]


def test_releases_that_were_not_read_keep_one_model_an_instance():
    result = plan(ONE_A6000, wanted("llama3.1-8b"), wanted("qwen3-0.6b"), ollama_version="0.4.0")
    assert [item["name"] for item in result["instances"]] == ["gpu0", "gpu0b"]
