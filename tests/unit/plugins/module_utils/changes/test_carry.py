# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is carried over from an Ollama that is adopted."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.carry import carried_over
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import service_variables
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.user_variables import check_environment
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.versions import release_of
from hypothesis import given
from hypothesis import strategies as st


def test_what_the_user_may_set_is_kept_as_it_is():
    environment = {
        "OLLAMA_ORIGINS": "https://chat.example.com",
        "HTTPS_PROXY": "http://a:b@proxy:3128",
        "OLLAMA_DEBUG": "1",
        "LLAMA_ARG_THREADS": "8",
        "CUDA_CACHE_MAXSIZE": "4294967296",
    }
    assert carried_over(environment, "0.32.15") == (environment, [])


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("HTTPS_PROXY", "http://a\udcff", "HTTPS_PROXY is not valid UTF-8"),
        ("OLLAMA_NUM_GPU", "999", "no release of Ollama reads it"),
        ("LLAMA_ARG_THREDS", "8", "no release of Ollama reads it"),
        ("OLLAMA_HOST", "0.0.0.0", "listen_address"),
        ("OLLAMA_MODELS", "/data", "models_dir"),
        ("OLLAMA_SCHED_SPREAD", "1", "strategy: spread"),
        ("OLLAMA_VULKAN", "1", "always 0"),
        ("CUDA_VISIBLE_DEVICES", "0", "GPU selectors"),
        ("CUDA_CACHE_PATH", "/var/cache/cuda", "the only place that the service may write"),
        ("LLAMA_ARG_FIT_TARGET", "512", "headroom_bytes"),
        ("OLLAMA_CONTEXT_LENGTH", "4096", "context_length of a model"),
        ("OLLAMA_KEEP_ALIVE", "5m", "keep_alive of a model"),
        ("OLLAMA_NUM_PARALLEL", "4", "parallel of a model"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0", "kv_cache_type of a model"),
        ("OLLAMA_FLASH_ATTENTION", "1", "flash_attention of a model"),
        ("LD_PRELOAD", "/x.so", "dynamic linker"),
        ("LD_LIBRARY_PATH", "/cuda", "dynamic linker"),
        ("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "1", "host's memory"),
        ("OLLAMA_ORIGINS", "*", "add OLLAMA_ORIGINS to ollama_multigpu_acknowledged"),
        ("OLLAMA_NO_CLOUD", "false", "its cloud"),
        ("OLLAMA_DEBUG_LOG_REQUESTS", "1", "every request"),
        ("GGML_BACKEND_PATH", "/x.so", "other code"),
        ("GGML_CUDA_P2P", "0", "also as 0"),
        ("OLLAMA_NEW_ENGINE", "1", "from 0.5.12 to 0.24.0"),
        ("OLLAMA_NOPRUNE", "fales", "'fales'"),
        ("OLAMA_DEBUG", "1", "did you mean OLLAMA_DEBUG?"),
    ],
)
def test_the_rest_is_dropped_with_its_name_and_a_reason(name, value, words):
    kept, dropped = carried_over({name: value, "OLLAMA_DEBUG": "1"}, "0.32.15")
    assert kept == {"OLLAMA_DEBUG": "1"}
    assert [entry.name for entry in dropped] == [name] and words in dropped[0].reason
    assert not dropped[0].reason.endswith(".")


def test_what_opens_the_service_is_kept_where_it_is_acknowledged():
    environment = {"OLLAMA_ORIGINS": "*", "OLLAMA_NO_CLOUD": "0"}
    kept, dropped = carried_over(environment, "0.32.15", ("OLLAMA_ORIGINS",))
    assert kept == {"OLLAMA_ORIGINS": "*"} and [entry.name for entry in dropped] == ["OLLAMA_NO_CLOUD"]


def test_what_an_installer_writes_for_the_process_is_not_worth_a_warning():
    assert carried_over({"PATH": "/bin", "HOME": "/usr/share/ollama"}, "0.32.15") == ({}, [])


def test_a_variable_is_kept_for_a_release_that_reads_it():
    assert carried_over({"OLLAMA_NEW_ENGINE": "1"}, "0.24.0").kept == {"OLLAMA_NEW_ENGINE": "1"}


@given(
    st.dictionaries(
        st.sampled_from(
            sorted(service_variables.TABLE) + ["OLLAMA_NUM_GPU", "LD_AUDIT", "A", "A B", "", "CUDA_DEVICE_ODER"]
        ),
        st.sampled_from(["", "1", "0", "30m", "many", "a\nb", "cpu", "/x"]),
    )
)
def test_a_plan_takes_whatever_was_carried_over(environment):
    kept, dropped = carried_over(environment, "0.32.15")
    assert not set(kept) & {entry.name for entry in dropped}
    check_environment(kept, release_of("0.32.15"))
