# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama reads its service environment (envconfig/config.go), and which GPUs CUDA then shows."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..common import go_values
from ..common.visible_devices import VISIBLE_DEVICES, shown

MODELS_PER_GPU = 3
WORD = 1 << 64  # Ollama's byte counts are unsigned numbers of 64 bits, which wrap around


def text(environment: Mapping[str, Any], name: str) -> str:
    """Value of a variable without surrounding blanks and quotes, "" where unset (envconfig `Var`)."""
    return go_values.of_variable(environment.get(name))


def boolean(environment: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """Value of a switch: empty is the default, anything that Go's ParseBool does not accept counts as true."""
    return go_values.switch(environment.get(name), default)


def number(environment: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Value of a whole number; a bad one is replaced by the default, as Ollama does (with a warning in its log)."""
    value = text(environment, name)
    return int(value) if value.isdigit() else default


def most_loaded(environment: Mapping[str, Any], gpu_count: int) -> int:
    """Number of models that may be loaded at once (OLLAMA_MAX_LOADED_MODELS).

    Source: server/sched.go, `defaultModelsPerGPU`.
    """
    return number(environment, "OLLAMA_MAX_LOADED_MODELS") or MODELS_PER_GPU * max(gpu_count, 1)


def visible_gpus(gpus: Sequence[dict[str, Any]], environment: Mapping[str, Any]) -> list[tuple[int, str]]:
    """GPUs that CUDA shows to the service (common/visible_devices.py).

    Args:
        gpus: list of dicts with `uuid`, in the order of CUDA's indices.
        environment: the service environment; only CUDA_VISIBLE_DEVICES counts here.

    Returns:
        list of (position in gpus, token): the token is how Ollama names the GPU to its engine (as the user wrote it, or
        the index).
    """
    text = environment.get(VISIBLE_DEVICES)
    return shown([gpu.get("uuid") for gpu in gpus], None if text is None else str(text))
