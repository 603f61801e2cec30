# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The table of the service's variables."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import engine_variables, variables

NOW = (0, 32, 15)


@pytest.mark.parametrize(
    "name, owner",
    [
        ("OLLAMA_HOST", variables.PLAN),
        ("OLLAMA_VULKAN", variables.PLAN),
        ("CUDA_VISIBLE_DEVICES", variables.PLAN),
        ("LLAMA_ARG_CTX_SIZE", variables.PLAN),
        ("OLLAMA_CONTEXT_LENGTH", variables.USER),
        ("OLLAMA_KEEP_ALIVE", variables.USER),
        ("OLLAMA_NEW_ENGINE", variables.USER),
        ("LLAMA_ARG_THREADS", variables.USER),
        ("HTTPS_PROXY", variables.USER),
        ("CUDA_LAUNCH_BLOCKING", variables.USER),
        ("PATH", variables.USER),
        ("LD_PRELOAD", variables.REFUSED),
        ("LD_LIBRARY_PATH", variables.REFUSED),
        ("LLAMA_ARG_SWA_FULL", variables.REFUSED),
        ("GGML_CUDA_ENABLE_UNIFIED_MEMORY", variables.REFUSED),
        ("OLLAMA_NUM_GPU", variables.UNKNOWN),
        ("ollama_debug", variables.UNKNOWN),
        ("LLAMA_ARG_THREDS", variables.UNKNOWN),
    ],
)
def test_every_name_has_an_owner(name, owner):
    found = variables.find(name)
    assert (found.name, found.owner) == (name, owner)
    assert found.loader == name.startswith("LD_")


def test_every_line_of_the_table_is_complete():
    assert len(variables.TABLE) == len(variables._TABLE)
    for variable in variables.TABLE.values():
        assert variable.type in (variables.TEXT, variables.NUMBER, variables.SWITCH, variables.DURATION)
        assert variable.last is None or variable.first < variable.last
        # What is neither carried over nor refused without a word has advice for the user.
        assert variable.carried != bool(variable.advice)
        assert variable.carried is False or variable.owner == variables.USER


def test_the_engines_variables_in_the_table_are_the_engines():
    listed = {name for name in variables.TABLE if name.startswith(engine_variables.PREFIX)}
    assert {name[len(engine_variables.PREFIX) :] for name in listed} <= engine_variables.NAMES
    assert engine_variables.MOVE_MEMORY <= engine_variables.NAMES
    assert all(variables.TABLE[name].first == (0, 30, 0) for name in listed)


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
    assert variables.find(name).known_to(version) is known


def test_the_releases_of_a_variable_in_words():
    assert variables.span(variables.find("OLLAMA_NEW_ENGINE")) == "from 0.5.12 to 0.24.0"
    assert variables.span(variables.find("OLLAMA_NO_CLOUD")) == "from 0.16.2 on"


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("OLLAMA_API_KEY", "abc", "***"),
        ("HF_TOKEN", "abc", "***"),
        ("LLAMA_ARG_API_KEY_FILE", "/root/key", "***"),
        ("HTTPS_PROXY", "http://user:word@proxy:3128", "http://***@proxy:3128"),
        ("OLLAMA_ORIGINS", "https://a.example,https://b@example", "https://a.example,https://***@example"),
        ("OLLAMA_KEEP_ALIVE", "-1", "-1"),
    ],
)
def test_secrets_are_not_shown(name, value, shown):
    assert variables.shown(name, value) == shown
    assert variables.find(name).secret is (shown == "***")


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
    assert variables.is_of_the_server(name) is server and variables.is_read_by_server(name) is read
