# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The user's service variables: wrong ones are refused, the others reach the instances."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.user_variables import check_environment
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import TWO_4090, TWO_A6000, make_plan, plan, refused, wanted


@pytest.mark.parametrize(
    "environment, words",
    [
        ({"OLLAMA_KEEP_ALVE": "5m"}, ["OLLAMA_KEEP_ALVE", "OLLAMA_KEEP_ALIVE?"]),
        ({"OLAMA_DEBUG": "1"}, ["OLLAMA_DEBUG?"]),
        ({"OLLAMA_SOMETHING_ELSE": "1"}, ["ignore it silently"]),
        ({"LLAMA_ARG_THREDS": "4"}, ["LLAMA_ARG_THREADS?"]),
        ({"LLAMA_ARG_MODEL_DRAFT": "/x.gguf"}, ["LLAMA_ARG_MODEL_DRAFT makes the engine load a draft", "speculative"]),
        ({"LLAMA_ARG_HF_REPO_DRAFT": "a/b"}, ["load a draft model that the plan does not count", "leave it out"]),
        ({"LLAMA_ARG_CTX_SIZ": "1"}, ["If it means LLAMA_ARG_CTX_SIZE", "use context_length of a model instead."]),
        ({"LLAMA_ARG_KV_OFLOAD": "1"}, ["If it means LLAMA_ARG_KV_OFFLOAD, that moves memory", "leave it out."]),
        ({"LLAMA_ARG_NO_KV_OFFLOAD": "1"}, ["LLAMA_ARG_NO_KV_OFFLOAD moves memory"]),
        ({"OLLAMA_HOSTS": "::1"}, ["If it means OLLAMA_HOST, that is what the plan decides; use listen_address"]),
        ({"LLAMA_ARG_SWA_FULL": "1"}, ["LLAMA_ARG_SWA_FULL", "leave it out"]),
        ({"LLAMA_ARG_SPEC_TYPE": "draft-mtp"}, ["what the plan decides", "use speculative of a model"]),
        ({"LLAMA_ARG_SPEC_DRAFT_N_MAX": "8"}, ["use speculative.tokens of a model"]),
        ({"LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K": "q8_0"}, ["moves memory"]),
        ({"OLLAMA_NUM_PARALLEL": "many"}, ["OLLAMA_NUM_PARALLEL", "'many'"]),
        ({"OLLAMA_FLASH_ATTENTION": "fales"}, ["'fales'", "1 or 0"]),
        ({"OLLAMA_KEEP_ALIVE": "soon"}, ["'soon'", "30m"]),
        ({"OLLAMA_HOST": "0.0.0.0"}, ["OLLAMA_HOST", "listen_address"]),
        ({"OLLAMA_SCHED_SPREAD": "1"}, ["strategy: spread"]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, ["selectors"]),
        ({"NVIDIA_VISIBLE_DEVICES": "0"}, ["NVIDIA_VISIBLE_DEVICES", "selectors"]),
        ({"HIP_VISIBLE_DEVICES": "0"}, ["HIP_VISIBLE_DEVICES", "selectors"]),
        ({"LD_PRELOAD": "/opt/x.so"}, ["LD_PRELOAD", "leave it out"]),
        ({"LD_AUDIT": "/opt/x.so"}, ["LD_AUDIT", "leave it out"]),
        ({"LD_LIBRARY_PATH": "/opt/cuda/lib64"}, ["LD_LIBRARY_PATH", "verified", "leave it out"]),
        ({"OLLAMA_VULKAN": "1"}, ["OLLAMA_VULKAN", "always 0"]),
        ({"GGML_CUDA_ENABLE_UNIFIED_MEMORY": 1}, ["host's memory", "leave it out"]),
        ({"OLLAMA_KEEP_ALIVE": "0"}, ["OLLAMA_KEEP_ALIVE", "'0'", "unload", "-1"]),
        ({"OLLAMA_LLM_LIBRARY": "cpu"}, ["'cpu'", "cuda_v12"]),
        ("OLLAMA_DEBUG=1", ["environment is a str", "dictionary"]),
        ({"OLLAMA_ORIGINS": "a\nExecStart=/bin/sh"}, ["OLLAMA_ORIGINS", "line break"]),
        ({"A B": "1"}, ["'A B'"]),
        ({"HTTPS_PROXY": ["x"]}, ["HTTPS_PROXY", "list"]),
    ],
)
def test_wrong_environment(environment, words):
    message = refused(environment=environment)
    for word in words:
        assert word in message


def test_a_value_in_the_place_of_a_name_is_not_shown():
    message = refused(environment={"API_TOKEN=s3cret": "", "A": "1"})
    assert "'API_TOKEN'" in message and "s3cret" not in message


def test_a_password_that_ollama_itself_writes_into_its_journal_is_warned_of():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    for value in ("http://user:MARK@proxy", "(hidden)"):
        given = {"https_proxy": value, "HTTP_PROXY": "http://proxy"}
        found = make_plan(TWO_A6000, [entry], "0.32.15", environment=given)["warnings"]
        said = [warning for warning in found if "into its journal" in warning]
        assert len(said) == 1 and said[0].startswith("https_proxy holds") and "MARK" not in str(said)


def test_a_variable_that_no_release_knows_is_passed_with_a_warning():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    given = {"OLLAMA_NEXT_SETTING": True, "LLAMA_ARG_NEXT": "x y", "B": None}
    result = make_plan(TWO_A6000, [entry], "0.32.15", environment_unchecked=given)
    environment = result["instances"][0]["environment"]
    assert (environment["OLLAMA_NEXT_SETTING"], environment["LLAMA_ARG_NEXT"]) == (
        "1",
        "x y",
    ) and "B" not in environment
    said = [warning for warning in result["warnings"] if "unchecked" in warning]
    assert [warning.split()[0] for warning in said] == ["LLAMA_ARG_NEXT", "OLLAMA_NEXT_SETTING"]
    assert all("are void" in warning for warning in said)
    assert make_plan(TWO_A6000, [entry], "0.32.15", environment_unchecked={}) == make_plan(
        TWO_A6000, [entry], "0.32.15"
    )


@pytest.mark.parametrize(
    "unchecked, words",
    [
        ({"LD_PRELOAD": "/x.so"}, ["LD_PRELOAD", "leave it out"]),
        ({"OLLAMA_LIBRARY_PATH": "/x"}, ["other code", "leave it out"]),
        ({"LLAMA_ARG_API_KEY": "x"}, ["locks Ollama out"]),
        ({"LLAMA_ARG_RPC": "x"}, ["moves memory"]),
        ({"OLLAMA_HOST": "0.0.0.0"}, ["listen_address"]),
        ({"OLLAMA_DEBUG": "1"}, ["is known; give it in environment"]),
        ({"LLAMA_ARG_THREADS": "1"}, ["is known; give it in environment"]),
        ({"A B": "1"}, ["'A B'"]),
        ({"OLLAMA_NEXT": ["x"]}, ["OLLAMA_NEXT", "list"]),
        ({"OLLAMA_NEXT": "a\nb"}, ["OLLAMA_NEXT", "line break"]),
        ({"OLLAMA_NEXT": "a\udcff"}, ["OLLAMA_NEXT", "UTF-8"]),
        ("OLLAMA_NEXT=1", ["environment_unchecked", "dictionary"]),
        ({"TWICE": "1"}, ["both give TWICE"]),
    ],
)
def test_unchecked_is_not_unguarded(unchecked, words):
    message = refused(environment={"TWICE": "0"}, environment_unchecked=unchecked)
    for word in words:
        assert word in message


def test_values_arrive_unchanged():
    given = {
        "HTTPS_PROXY": "http://a:b@proxy:3128",
        "OLLAMA_ORIGINS": "50% $HOME \"q\" 'q' \\ end",
        "OLLAMA_DEBUG": 1,
        "OLLAMA_NOPRUNE": True,
    }
    result = make_plan(
        TWO_A6000, [{"name": "llama3", "model": models.model("llama3.1-8b")}], "0.32.15", environment=given
    )
    environment = result["instances"][0]["environment"]
    assert (
        environment["OLLAMA_ORIGINS"] == given["OLLAMA_ORIGINS"] and environment["HTTPS_PROXY"] == given["HTTPS_PROXY"]
    )
    assert environment["OLLAMA_DEBUG"] == "1" and environment["OLLAMA_NOPRUNE"] == "1"
    assert all(isinstance(value, str) for value in environment.values())


def test_the_environment_gives_defaults_that_a_model_overrides():
    given = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_CONTEXT_LENGTH": "4096", "OLLAMA_NUM_PARALLEL": 2}
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    model = make_plan(TWO_A6000, [entry], "0.32.15", environment=given)["instances"][0]["models"][0]
    assert (model["kv_cache_type"], model["context_length"], model["parallel"]) == ("q8_0", 4096, 2)
    instance = make_plan(
        TWO_A6000, [dict(entry, context_length=8192, kv_cache_type="f16")], "0.32.15", environment=given
    )["instances"][0]
    assert (
        instance["environment"]["OLLAMA_CONTEXT_LENGTH"] == "8192"
        and instance["environment"]["OLLAMA_KV_CACHE_TYPE"] == "f16"
    )


def test_variables_that_are_allowed_but_said():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    result = make_plan(
        TWO_A6000,
        [entry],
        "0.32.15",
        environment={"OLLAMA_NEW_ENGINE": "1", "OLLAMA_FLASH_ATTENTION": "", "OLLAMA_NUM_PARALLEL": ""},
    )
    environment = result["instances"][0]["environment"]
    assert environment["OLLAMA_NEW_ENGINE"] == "1" and any(
        "OLLAMA_NEW_ENGINE" in warning for warning in result["warnings"]
    )
    assert "OLLAMA_FLASH_ATTENTION" not in environment and environment["OLLAMA_NUM_PARALLEL"] == "1"


def test_a_variable_without_effect_is_said_for_the_releases_that_ignore_it():
    def said(version):
        warnings = plan(
            TWO_4090, wanted("llama3.1-8b"), environment={"OLLAMA_NEW_ENGINE": "1"}, ollama_version=version
        )["warnings"]
        return any("OLLAMA_NEW_ENGINE" in warning for warning in warnings)

    assert said("0.32.15") and said("0.30.0") and not said("0.24.0") and not said("0.12.3")


@pytest.mark.parametrize("value", ["yes", "TRUE", "", "2"])
def test_a_value_at_which_the_engine_would_end_is_refused(value):
    assert "LLAMA_ARG_KV_UNIFIED" in refused(environment={"LLAMA_ARG_KV_UNIFIED": value})


def test_a_limit_for_each_slot_of_a_shared_stream_is_refused():
    with pytest.raises(PlacementError, match="moves memory"):
        make_plan(hosts.inventory(hosts.A6000), [], "0.32.15", environment={"LLAMA_ARG_KV_UNIFIED_PER_SLOT": "4096"})


@pytest.mark.parametrize("library", ["cuda", "cuda_v11", "cuda_v14"])
def test_a_library_that_the_release_does_not_have_is_refused_whatever_the_gpus(library):
    with pytest.raises(PlacementError) as caught:
        check_environment({"OLLAMA_LLM_LIBRARY": library}, versions.release_of("0.32.15"))
    assert "'%s'" % library in str(caught.value) and "cuda_v12, cuda_v13" in str(caught.value)
    quoted = {"OLLAMA_LLM_LIBRARY": ' "cuda_v12" '}
    assert check_environment(quoted, versions.release_of("0.32.15"))[0] == {"OLLAMA_LLM_LIBRARY": "cuda_v12"}


def test_a_library_of_a_release_that_is_newer_than_those_read_is_passed_with_a_warning():
    """The collection must not be the reason that nobody can use it."""
    entry = wanted("llama3.1-8b", context_length=4096)
    variables = {"OLLAMA_LLM_LIBRARY": "cuda_v14"}
    result = make_plan(TWO_4090, [entry], "0.35.1", environment=variables)
    assert result["feasible"] and result["instances"][0]["environment"]["OLLAMA_LLM_LIBRARY"] == "cuda_v14"
    assert [note for note in result["warnings"] if "cuda_v14" in note and "not known here" in note]
    with pytest.raises(PlacementError, match="cuda_v11.*leaves Ollama 0.35.1 without GPUs"):
        make_plan(TWO_4090, [entry], "0.35.1", environment={"OLLAMA_LLM_LIBRARY": "cuda_v11"})
