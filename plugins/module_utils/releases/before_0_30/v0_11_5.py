# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.11.5 to 0.11.10: the estimator as before, on the fewest GPUs that fit; measured layouts where asked for.

Source: llm/memory.go and llm/server.go, read at 0.11.5, 0.11.8 and 0.11.10; checked against recorded decisions of
0.11.10. The measured layout (layout.py, measured_layout.py) is used for models of Ollama's own engine with
OLLAMA_NEW_ESTIMATES.
"""

from __future__ import annotations

from .. import variable_values as env
from ..shapes import Decision, LoadRequest
from . import common_rules, estimated_layout, own_engine

FIRST_VERSION = (0, 11, 5)
NEWEST_VERSION = (0, 11, 10)

EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "bytes that the estimate leaves free on every GPU",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if fewer would do",
    "OLLAMA_KV_CACHE_TYPE": "used where flash attention is on; the estimate counts q8_0 as 1 byte and q4_0 as half "
    "a byte",
    "OLLAMA_NEW_ESTIMATES": "models of Ollama's own engine are laid out by what the runner measures",
    "num_gpu": "number of layers, not of GPUs",
    "num_gpu_all": "no fallback to the CPU; as it is above the number of layers the model never counts as "
    "fitting, so all GPUs are taken",
    "main_gpu": "no effect on where layers go",
    "LLAMA_ARG_TENSOR_SPLIT": "no effect before 0.30: layers are given to the runner one by one",
    "LLAMA_ARG_FIT_TARGET": "no effect before 0.30",
}


def decide(request: LoadRequest) -> Decision:
    """What Ollama does with one load."""
    effective = common_rules.EffectiveRequest(request, request.version or NEWEST_VERSION)
    if effective.over_limit:
        return common_rules.evicting(effective)
    if effective.own_engine and env.boolean(effective.environment, "OLLAMA_NEW_ESTIMATES"):
        return own_engine.decide(effective, request.runner)
    return estimated_layout.decide(effective)
