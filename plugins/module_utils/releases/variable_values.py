# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama reads its service environment (envconfig/config.go), and which GPUs CUDA then shows."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

MODELS_PER_GPU = 3
WORD = 1 << 64  # Ollama's byte counts are unsigned numbers of 64 bits, which wrap around
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def text(environment: Mapping[str, Any], name: str) -> str:
    """Value of a variable without surrounding blanks and quotes, "" where unset (envconfig `Var`)."""
    return str(environment.get(name) or "").strip().strip("\"'")


def boolean(environment: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """Value of a switch: empty is the default, anything that Go's ParseBool does not accept counts as true."""
    value = text(environment, name)
    if not value:
        return default
    return value not in _FALSE


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
    """GPUs that CUDA shows to the service.

    CUDA shows a process one MIG device, the first one, and then no other GPU (NVIDIA MIG User Guide, "Device
    Enumeration").

    Args:
        gpus: list of dicts with `uuid`, in the order of CUDA's indices.
        environment: the service environment; only CUDA_VISIBLE_DEVICES counts here.

    Returns:
        list of (position in gpus, token): the token is how Ollama names the GPU to its engine (as the user wrote it, or
        the index). An unknown entry ends the list, as in CUDA.
    """
    if "CUDA_VISIBLE_DEVICES" not in environment:
        listed = [(index, str(index)) for index in range(len(gpus))]
        mig = next((index for index, gpu in enumerate(gpus) if _is_mig(gpu)), None)
        return listed if mig is None else [(mig, "0")]
    found: list[tuple[int, str]] = []
    for token in str(environment["CUDA_VISIBLE_DEVICES"]).split(","):
        token = token.strip()
        matches = [
            index
            for index, gpu in enumerate(gpus)
            if token and (token == str(index) or (token.startswith(("GPU-", "MIG-")) and gpu["uuid"].startswith(token)))
        ]
        if len(matches) != 1 or matches[0] in [index for index, dummy in found]:
            break
        found.append((matches[0], token))
    return next(([one] for one in found if _is_mig(gpus[one[0]])), found)


def _is_mig(gpu: dict[str, Any]) -> bool:
    return str(gpu.get("uuid") or "").startswith("MIG-")
