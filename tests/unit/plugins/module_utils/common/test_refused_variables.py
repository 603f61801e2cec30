# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Variables that no service may have. How a user hears of them is tested with service_variables."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import refused_variables


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "GCONV_PATH", "CUDA_INJECTION64_PATH", "LLAMA_ARG_MCP_SERVERS_CONFIG"]
    + ["NCCL_CONF_FILE", "NCCL_NET_PLUGIN"],
)
def test_variables_that_load_code(name):
    assert refused_variables.loads_code(name) and refused_variables.breaks_plan(name) is None


@pytest.mark.parametrize(
    "name",
    ["LLAMA_API_KEY", "LLAMA_ARG_API_KEY_FILE", "LLAMA_ARG_MMPROJ_URL", "GGML_CUDA_P2P"]
    + ["LLAMA_ARG_MODEL_URL", "LLAMA_ARG_HF_REPO", "LLAMA_ARG_MODELS_DIR", "LLAMA_ARG_SPEC_DRAFT_MODEL"]
    + ["LLAMA_ARG_EMBEDDINGS", "LLAMA_ARG_RERANKING", "LLAMA_ARG_STATIC_PATH", "LLAMA_ARG_SLOT_SAVE_PATH"],
)
def test_variables_that_break_a_plan(name):
    assert refused_variables.breaks_plan(name) and refused_variables.loads_code(name) is None


@pytest.mark.parametrize("name", ["OLLAMA_ORIGINS", "MY_LD_PRELOAD", "GGML_CUDA_P2P_MODE", "LLAMA_ARG_THREADS"])
def test_whole_names_are_compared(name):
    assert refused_variables.loads_code(name) is refused_variables.breaks_plan(name) is None
