# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The table of the service's variables."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import engine_variables, service_variables

NOW = (0, 32, 15)


@pytest.mark.parametrize(
    "name, owner",
    [
        ("OLLAMA_HOST", service_variables.PLAN),
        ("OLLAMA_VULKAN", service_variables.PLAN),
        ("CUDA_VISIBLE_DEVICES", service_variables.PLAN),
        ("LLAMA_ARG_CTX_SIZE", service_variables.PLAN),
        ("OLLAMA_CONTEXT_LENGTH", service_variables.USER),
        ("OLLAMA_KEEP_ALIVE", service_variables.USER),
        ("OLLAMA_NEW_ENGINE", service_variables.USER),
        ("LLAMA_ARG_THREADS", service_variables.USER),
        ("HTTPS_PROXY", service_variables.USER),
        ("CUDA_LAUNCH_BLOCKING", service_variables.USER),
        ("PATH", service_variables.USER),
        ("LD_PRELOAD", service_variables.REFUSED),
        ("LD_LIBRARY_PATH", service_variables.REFUSED),
        ("LLAMA_ARG_SWA_FULL", service_variables.REFUSED),
        ("GGML_CUDA_ENABLE_UNIFIED_MEMORY", service_variables.REFUSED),
        ("OLLAMA_NUM_GPU", service_variables.UNKNOWN),
        ("ollama_debug", service_variables.UNKNOWN),
        ("LLAMA_ARG_THREDS", service_variables.UNKNOWN),
    ],
)
def test_every_name_has_an_owner(name, owner):
    found = service_variables.find(name)
    assert (found.name, found.owner) == (name, owner)


@pytest.mark.parametrize(
    "name, word",
    [
        ("LD_AUDIT", "dynamic linker"),
        ("GCONV_PATH", "other code"),
        ("GGML_BACKEND_PATH", "other code"),
        ("OLLAMA_LIBRARY_PATH", "other code"),
        ("CUDA_INJECTION64_PATH", "other code"),
        ("CUDA_INJECTION32_PATH", "other code"),
        ("NVTX_INJECTION64_PATH", "other code"),
        ("NCCL_NET_PLUGIN", "other code"),
        ("OMP_TOOL_LIBRARIES", "other code"),
        ("OPENSSL_CONF", "other code"),
        ("OPENSSL_MODULES", "other code"),
        ("OPENSSL_ENGINES", "other code"),
        ("VK_ICD_FILENAMES", "other code"),
        ("VK_ADD_DRIVER_FILES", "other code"),
        ("VK_LAYER_PATH", "other code"),
        ("LLAMA_ARG_MCP_SERVERS_JSON", "run programs"),
        ("LLAMA_ARG_TOOLS", "run programs"),
        ("LLAMA_ARG_VIDEO_FFMPEG_DIR", "run programs"),
        ("LLAMA_API_KEY", "locks Ollama out"),
        ("LLAMA_ARG_API_KEY", "locks Ollama out"),
        ("LLAMA_ARG_API_KEY_FILE", "locks Ollama out"),
        ("LLAMA_ARG_API_PREFIX", "locks Ollama out"),
        ("LLAMA_ARG_SSL_KEY_FILE", "locks Ollama out"),
        ("LLAMA_ARG_MMPROJ", "projector"),
        ("LLAMA_ARG_MMPROJ_URL", "projector"),
        ("LLAMA_ARG_MMPROJ_AUTO", "projector"),
        ("GGML_CUDA_P2P", "also as 0"),
    ],
)
def test_what_no_service_may_have_is_refused_with_the_reason(name, word):
    found = service_variables.find(name)
    assert found.owner == service_variables.REFUSED
    assert word in found.advice and name not in service_variables.TABLE


@pytest.mark.parametrize(
    "name, owner, words",
    [
        ("LLAMA_ARG_MODEL_DRAFT", service_variables.REFUSED, "speculative of a model is the option for it"),
        ("LLAMA_ARG_HF_REPO_DRAFT", service_variables.REFUSED, "speculative of a model is the option for it"),
        ("LLAMA_ARG_HFD_REPO", service_variables.REFUSED, "speculative of a model is the option for it"),
        ("LLAMA_ARG_SPEC_DRAFT_MODEL", service_variables.REFUSED, "speculative of a model is the option for it"),
        ("LLAMA_ARG_HF_REPO_V", service_variables.REFUSED, "another model than the planned one"),
        ("LLAMA_ARG_CTX_SIZE_DRAFT", service_variables.PLAN, "use context_length of a model"),
        ("LLAMA_ARG_CACHE_TYPE_K_DRAFT", service_variables.REFUSED, "moves memory"),
        ("LLAMA_ARG_DRAFT_P_MIN", service_variables.REFUSED, "LLAMA_ARG_SPEC_DRAFT_P_MIN, which is the one to set"),
        ("LLAMA_ARG_NO_KV_OFFLOAD", service_variables.REFUSED, "moves memory"),
        ("LLAMA_ARG_NO_KV_UNIFIED", service_variables.REFUSED, "negation of LLAMA_ARG_KV_UNIFIED"),
        ("LLAMA_ARG_NO_MMPROJ", service_variables.REFUSED, "decides on the projector"),
        ("LLAMA_ARG_NO_WEBUI", service_variables.REFUSED, "negation of LLAMA_ARG_UI,"),
        ("LLAMA_ARG_NO_HOST", service_variables.USER, ""),
    ],
)
def test_former_names_and_negations_have_the_owner_of_what_they_set(name, owner, words):
    found = service_variables.find(name)
    assert (found.name, found.owner) == (name, owner) and words in found.advice


@pytest.mark.parametrize(
    "name", ["SSL_CERT_FILE", "CUDA_CACHE_MAXSIZE", "NCCL_DEBUG", "GGML_CUDA_NO_PINNED", "OMP_NUM_THREADS"]
)
def test_what_only_resembles_them_is_the_users(name):
    assert service_variables.find(name).owner == service_variables.USER


def test_every_line_of_the_table_is_complete():
    assert len(service_variables.TABLE) == len(service_variables._TABLE)
    for variable in service_variables.TABLE.values():
        assert variable.type in (
            service_variables.TEXT,
            service_variables.NUMBER,
            service_variables.SWITCH,
            service_variables.DURATION,
        )
        assert variable.last is None or variable.first < variable.last
        # What is neither carried over nor refused without a word has advice for the user.
        assert variable.carried != bool(variable.advice)
        assert variable.carried is False or variable.owner == service_variables.USER


def test_the_engines_variables_in_the_table_are_the_engines():
    listed = {name for name in service_variables.TABLE if name.startswith(engine_variables.PREFIX)}
    assert {name[len(engine_variables.PREFIX) :] for name in listed} <= engine_variables.NAMES
    assert engine_variables.MOVE_MEMORY <= engine_variables.NAMES
    assert all(service_variables.TABLE[name].first == (0, 30, 0) for name in listed)


@pytest.mark.parametrize(
    "name, version, known",
    [
        ("OLLAMA_NEW_ENGINE", NOW, False),
        ("OLLAMA_NEW_ENGINE", (0, 24, 0), True),
        ("OLLAMA_NO_CLOUD", (0, 16, 1), False),
        ("LLAMA_ARG_THREADS", (0, 24, 0), False),
        ("LLAMA_ARG_THREADS", NOW, True),
        ("OLLAMA_NUM_GPU", NOW, False),
        ("HTTPS_PROXY", NOW, True),
    ],
)
def test_a_release_knows_a_variable_or_not(name, version, known):
    assert service_variables.find(name).known_to(version) is known


def test_the_releases_of_a_variable_in_words():
    assert service_variables.span(service_variables.find("OLLAMA_NEW_ENGINE")) == "from 0.5.12 to 0.24.0"
    assert service_variables.span(service_variables.find("OLLAMA_NO_CLOUD")) == "from 0.16.2 on"


@pytest.mark.parametrize(
    "name, server, read",
    [
        ("OLLAMA_HOST", True, True),
        ("CUDA_VISIBLE_DEVICES", True, True),
        ("LLAMA_ARG_THREADS", True, True),
        ("GGML_CUDA_NO_PINNED", False, True),
        ("HTTPS_PROXY", False, True),
        ("no_proxy", False, True),
        ("INVOCATION_ID", False, False),
        ("PATH", False, False),
    ],
)
def test_what_a_server_reads_is_not_what_systemd_sets(name, server, read):
    assert service_variables.is_of_the_server(name) is server and service_variables.is_read_by_server(name) is read
