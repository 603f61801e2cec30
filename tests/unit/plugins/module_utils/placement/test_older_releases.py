# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Releases other than the checked 0.32.15: planned by their own rules, and what is not known of them is said."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, plan, wanted, where

ONE_A6000 = hosts.inventory(hosts.A6000)
TWO_A6000 = hosts.inventory(hosts.A6000, hosts.A6000)
TWO_4090 = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
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


def test_known_faults_of_a_release_are_said():
    assert any(
        "search" in warning for warning in plan(TWO_4090, wanted("llama3.1-8b"), ollama_version="0.12.11")["warnings"]
    )
    assert plan(TWO_4090, wanted("llama3.1-8b"))["warnings"] == []


# -- several models in one instance -----------------------------------------------------------------------------------


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
    """0.5.13 counts the whole cache of gpt-oss, which the engine keeps for a window only: alone it fits, beside the other not."""

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
    entries.append(dict(entries[0], optimized={"suffix": "-b"}))
    assert instances(33000) == ["gpu0", "gpu0b"] and instances(40000) == ["gpu0"]


def test_releases_that_were_not_read_keep_one_model_an_instance():
    result = plan(ONE_A6000, wanted("llama3.1-8b"), wanted("qwen3-0.6b"), ollama_version="0.4.0")
    assert [item["name"] for item in result["instances"]] == ["gpu0", "gpu0b"]


# -- what is not known -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version, words",
    [("0.33.0", ["newer", "0.32.15"]), ("0.99.0", ["newer"]), ("1.0.0", ["newer"]), ("0.1.0", ["older", "0.5.13"])],
)
def test_a_release_that_was_not_checked_is_said(version, words):
    result = plan(TWO_4090, wanted("llama3.1-8b"), ollama_version=version)
    assert result["feasible"] and all(word in " ".join(result["warnings"]) for word in [version] + words)


@pytest.mark.parametrize("version", ["v0.32.15", "0.32.15-rc1", "0.32.14", "0.30.0"])
def test_a_checked_one_is_not(version):
    assert plan(TWO_4090, wanted("llama3.1-8b"), ollama_version=version)["warnings"] == []


# -- service variables that older releases heed -------------------------------------------------------------------------


def test_reserved_memory_counts_where_the_release_counts_it():
    reserved = {"OLLAMA_GPU_OVERHEAD": 20 * GIB}
    assert plan(TWO_4090, wanted("llama3.1-8b"), environment=reserved)["feasible"]
    result = plan(TWO_4090, wanted("llama3.1-8b"), environment=reserved, ollama_version="0.24.0")
    assert not result["feasible"] and "own estimate" in result["models"][0]["reason"]
    assert result["models"][0]["remedies"][0].startswith("OLLAMA_GPU_OVERHEAD: without this variable the model fits")
    assert plan(TWO_4090, wanted("llama3.1-8b"), environment={"OLLAMA_GPU_OVERHEAD": GIB}, ollama_version="0.24.0")[
        "feasible"
    ]


def test_a_variable_without_effect_is_said_for_the_releases_that_ignore_it():
    def said(version):
        warnings = plan(
            TWO_4090, wanted("llama3.1-8b"), environment={"OLLAMA_NEW_ENGINE": "1"}, ollama_version=version
        )["warnings"]
        return any("OLLAMA_NEW_ENGINE" in warning for warning in warnings)

    assert said("0.32.15") and said("0.30.0") and not said("0.24.0") and not said("0.12.3")
