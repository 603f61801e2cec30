# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.11.11 to 0.12.10: models of Ollama's own engine by measured layouts, all others by the estimator.

Source: llm/memory.go and llm/server.go, read at 0.12.3, 0.12.6 and 0.12.10; checked against recorded decisions of
0.12.10.
"""

from __future__ import annotations

from ..shapes import Decision, LoadRequest
from . import common_rules, estimated_layout, own_engine

FIRST_VERSION = (0, 11, 11)
NEWEST_VERSION = (0, 12, 10)

EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "bytes left free on every GPU",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if fewer would do",
    "OLLAMA_KV_CACHE_TYPE": "used where flash attention is on",
    "num_gpu": "number of layers, not of GPUs",
    "num_gpu_all": "no fallback to the CPU; on llama.cpp it also takes all GPUs, on Ollama's own engine "
    "the fewest that hold the layers",
    "main_gpu": "no effect on where layers go",
    "LLAMA_ARG_TENSOR_SPLIT": "no effect before 0.30: layers are given to the runner one by one",
    "LLAMA_ARG_FIT_TARGET": "no effect before 0.30",
}


def decide(request: LoadRequest) -> Decision:
    """What Ollama does with one load."""
    effective = common_rules.EffectiveRequest(request, request.version or NEWEST_VERSION)
    if effective.over_limit:
        return common_rules.evicting(effective)
    if effective.own_engine:
        return own_engine.decide(effective, request.runner)
    return estimated_layout.decide(effective)
