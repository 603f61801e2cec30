# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The variables LLAMA_ARG_* of llama-server. Pure.

Ollama passes its own environment on to llama-server, so they act when they are set on the service.
Source of the names: `llama-server --help`, llama.cpp build 11669. Who may set which: common/service_variables.py.
"""

from __future__ import annotations

import re
from typing import Mapping, Optional

PREFIX = "LLAMA_ARG_"
# All names, without the prefix.
NAMES = frozenset(
    """
    AGENT ALIAS API_KEY_FILE API_PREFIX BACKEND_SAMPLING BATCH CACHE_IDLE_SLOTS CACHE_PROMPT CACHE_RAM CACHE_REUSE
    CACHE_TYPE_K CACHE_TYPE_V CHAT_TEMPLATE CHAT_TEMPLATE_FILE CHAT_TEMPLATE_KWARGS CHECKPOINT_MIN_SPACING_NT
    CONTEXT_SHIFT CONT_BATCHING CORS_CREDENTIALS CORS_HEADERS CORS_METHODS CORS_ORIGINS CPU_MOE CTX_CHECKPOINTS
    CTX_SIZE DEFRAG_THOLD DEVICE DOCKER_REPO DRAFT_MAX DRAFT_MIN EMBEDDINGS ENDPOINT_METRICS ENDPOINT_PROPS
    ENDPOINT_SLOTS FIT FIT_CTX FIT_TARGET FLASH_ATTN FREQUENCY_PENALTY HF_FILE HF_REPO HOST IMAGE_MAX_TOKENS
    IMAGE_MIN_TOKENS JINJA KV_OFFLOAD KV_UNIFIED KV_UNIFIED_PER_SLOT LAZY_MODE LOAD_MODE LOG_COLORS LOG_FILE
    LOG_JSONL LOG_PREFIX LOG_TIMESTAMPS LOG_VERBOSITY MAIN_GPU MCP_SERVERS_CONFIG MCP_SERVERS_JSON MIN_P MMPROJ
    MMPROJ_AUTO MMPROJ_OFFLOAD MMPROJ_URL MODEL MODELS_AUTOLOAD MODELS_DIR MODELS_MAX MODELS_PRESET MODEL_URL
    MOE_CACHE_MIB MTMD_BATCH_MAX_TOKENS NO_HOST NUMA N_CPU_FFN N_CPU_MOE N_GPU_LAYERS N_GPU_LAYERS_DRAFT N_PARALLEL
    N_PREDICT OFFLINE OVERRIDE_TENSOR PERF POOLING PORT PREFILL_ASSISTANT PRESENCE_PENALTY REASONING
    REASONING_EFFORT REASONING_PRESERVE REPACK REPEAT_PENALTY RERANKING REUSE_PORT ROPE_FREQ_BASE ROPE_FREQ_SCALE
    ROPE_SCALE ROPE_SCALING_TYPE RPC SKIP_CHAT_PARSING SLOT_SAVE_PATH SPEC_DRAFT_BACKEND_SAMPLING
    SPEC_DRAFT_CACHE_TYPE_K SPEC_DRAFT_CACHE_TYPE_V SPEC_DRAFT_CPU_MOE SPEC_DRAFT_HF_REPO SPEC_DRAFT_MODEL
    SPEC_DRAFT_N_CPU_MOE SPEC_DRAFT_N_MAX SPEC_DRAFT_N_MIN SPEC_DRAFT_N_UBATCH SPEC_DRAFT_P_MIN SPEC_DRAFT_P_SPLIT
    SPEC_DRAFT_SAMPLING SPEC_SYNTH_LEN SPEC_SYNTH_RATES SPEC_TYPE SPLIT_MODE SSE_PING_INTERVAL SSL_CERT_FILE
    SSL_KEY_FILE STATIC_PATH SWA_FULL TAGS TEMPERATURE TENSOR_SPLIT THINK THINK_BUDGET THINK_BUDGET_MESSAGE THREADS
    THREADS_HTTP TIMEOUT TOOLS TOOLS_RUNTIME TOP_K TOP_P UBATCH UI UI_CONFIG UI_CONFIG_FILE UI_MCP_PROXY
    VIDEO_FFMPEG_DIR VIDEO_FPS VIDEO_TIMESTAMP_INTERVAL YARN_ATTN_FACTOR YARN_BETA_FAST YARN_BETA_SLOW
    YARN_EXT_FACTOR YARN_ORIG_CTX
    """.split()
)
# Those that keep experts on the host, which a plan counts where it sets them.
EXPERTS = ("CPU_MOE", "N_CPU_MOE")
# Those that change where the model's memory goes, so that no prediction would hold.
MOVE_MEMORY = frozenset(
    """
    KV_OFFLOAD KV_UNIFIED_PER_SLOT N_CPU_FFN N_GPU_LAYERS_DRAFT OVERRIDE_TENSOR RPC
    SPEC_DRAFT_CACHE_TYPE_K SPEC_DRAFT_CACHE_TYPE_V SPEC_DRAFT_CPU_MOE SPEC_DRAFT_N_CPU_MOE SPEC_DRAFT_N_UBATCH SWA_FULL
    """.split()
)

# Names of earlier builds (0.30 has several), and those of today.
FORMER = {
    "CTX_SIZE_DRAFT": "CTX_SIZE",  # the draft has the context of its model since
    "DRAFT_P_MIN": "SPEC_DRAFT_P_MIN",
    "DRAFT_P_SPLIT": "SPEC_DRAFT_P_SPLIT",
    "CACHE_TYPE_K_DRAFT": "SPEC_DRAFT_CACHE_TYPE_K",
    "CACHE_TYPE_V_DRAFT": "SPEC_DRAFT_CACHE_TYPE_V",
    "CPU_MOE_DRAFT": "SPEC_DRAFT_CPU_MOE",
    "N_CPU_MOE_DRAFT": "SPEC_DRAFT_N_CPU_MOE",
    "WEBUI": "UI",
    "WEBUI_CONFIG": "UI_CONFIG",
    "WEBUI_CONFIG_FILE": "UI_CONFIG_FILE",
}
#: The same for a switch that is off: LLAMA_ARG_NO_KV_OFFLOAD with any value (common/arg.cpp `get_value_from_env`).
_NEGATED = "NO_"

#: One stream of the KV cache for all slots, which Ollama never asks for itself (it passes no --kv-unified).
UNIFIED = "LLAMA_ARG_KV_UNIFIED"
#: How the values of a text's tokens become one for the text, which Ollama leaves to the model.
POOLING = "LLAMA_ARG_POOLING"
ON = ("on", "enabled", "true", "1")  # common/arg.cpp `is_truthy`, in lower case only
OFF = ("off", "disabled", "false", "0")  # `is_falsey`; at anything else llama-server ends


def known_word(word: str) -> Optional[str]:
    """Return the name of today of a variable that llama-server reads, also in an earlier build or as its negation.

    Args:
        word: a name without the prefix.

    Returns:
        the name without the prefix, or None where no build reads it.
    """
    if word in NAMES:
        return word
    if word in FORMER:
        return FORMER[word]
    return known_word(word[len(_NEGATED) :]) if word.startswith(_NEGATED) else None


def shares(text: str) -> list[float]:
    """Return the numbers of LLAMA_ARG_TENSOR_SPLIT or --tensor-split: how much of a model each GPU gets.

    A comma or a slash stands between them (common/arg.cpp). What is no number counts as 0; llama-server ends at it.
    """
    return [_number(part) for part in re.split(r"[,/]+", text) if part.strip()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def unified(variables: Mapping[str, str]) -> bool:
    """Return whether llama-server puts the cells of all slots in one stream of the KV cache.

    Ollama passes -c context_length * parallel in either case. With a stream of its own, a slot has context_length
    tokens; in a shared one it may use all of them, as long as the others leave them free.

    Args:
        variables: the service's checked variables.
    """
    return variables.get(UNIFIED) in ON


def pools(variables: Mapping[str, str]) -> bool:
    """Return whether llama-server is told to make one value of all tokens of a text.

    Args:
        variables: the service's checked variables.
    """
    return variables.get(POOLING, "none") != "none"
