# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Experts that stay on the host by choice (cpu_experts), as llama.cpp's --cpu-moe and --n-cpu-moe keep them there."""

from __future__ import annotations

from ...memory.weights import HOST, Moved
from ..shapes import ALL, Wanted


def moved_experts(wanted: Wanted) -> Moved:
    """The experts that stay on the host: {layer: (bytes, HOST)}, those of the first layers (common/arg.cpp)."""
    layers = wanted.facts.layers
    count = len(layers) if wanted.cpu_experts == ALL else int(wanted.cpu_experts or 0)
    return {index: (layer.expert_bytes, HOST) for index, layer in enumerate(layers[:count]) if layer.expert_bytes}
