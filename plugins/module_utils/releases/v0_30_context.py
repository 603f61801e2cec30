# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.30 and later: how many tokens of context a model gets. Pure.

Source: Ollama server/routes.go and server/sched.go, read at 0.32.15.
"""

from __future__ import annotations

from typing import Any, Sequence

from ..common.sizes import GIB
from ..model.schema import ModelFacts
from . import variable_values as env
from .shapes import Gpu

LEAST_CONTEXT, LEAST_CONTEXT_WITH_IMAGES = 4, 2048
# Default context by the total memory of all visible GPUs: (bytes at least, tokens). server/routes.go.
CONTEXT_TIERS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))


def default_context(gpus: Sequence[Gpu], environment: dict[str, str]) -> int:
    """Tokens of context where neither request, model nor environment names one: by total memory of the visible GPUs.

    The server subtracts in unsigned numbers: an overhead above the total gives 16 EiB and the largest context.
    """
    overhead = env.number(environment, "OLLAMA_GPU_OVERHEAD")
    total = sum(gpu["total_bytes"] - overhead for gpu in gpus) % env.WORD
    return next(tokens for least, tokens in CONTEXT_TIERS if total >= least)


def asked_context(options: dict[str, Any], environment: dict[str, str], gpus: Sequence[Gpu]) -> int:
    """Tokens of context of one slot as request, model or environment name it, or the default."""
    asked = options.get("num_ctx")
    if asked is None:
        asked = env.number(environment, "OLLAMA_CONTEXT_LENGTH") or default_context(gpus, environment)
    return asked


def effective_context(
    model: ModelFacts, options: dict[str, Any], environment: dict[str, str], gpus: Sequence[Gpu]
) -> int:
    """Tokens of context of one slot.

    What is asked for, at least 4 (2048 for a model that sees images), at most what the model was trained for
    (server/sched.go, `getRunner` and `effectiveModelContext`).
    """
    least = LEAST_CONTEXT_WITH_IMAGES if "vision" in (model.capabilities or []) else LEAST_CONTEXT
    asked = max(asked_context(options, environment, gpus), least)
    return min(asked, model.context_length or asked)
