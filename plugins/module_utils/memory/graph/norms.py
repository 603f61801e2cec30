# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Norms and biases as values of a graph. Pure."""

from __future__ import annotations

from typing import Optional

from .graph_builder import Builder
from .kinds import Kind
from .tensors import Value


def norm(b: Builder, value: Value, weights: bool, layer: Optional[int] = None, plain: bool = False) -> Value:
    """Root-mean-square norm (or, `plain`, layer norm, which needs memory of its own), times its weights if it has any.

    The norm itself has no weights, so the first of a device is computed on the device before it (in a large batch;
    llama.cpp binds it only in small ones, llama-context.cpp `graph_get_cb`): the normed and the plain value both cross.

    Args:
        b: the Builder.
        value: what is normed.
        weights: whether the norm has weights.
        layer: the block that they belong to; None = the output layer.
        plain: layer norm instead of root-mean-square norm.
    """
    g = b.graph
    normed = g.like("norm" if plain else "rms_norm", value)
    if not weights:
        return normed
    device = b.device(layer) if layer is not None else b.output_device
    return g.like("mul", normed, bound=device)


def with_bias(b: Builder, value: Value, kind: Kind, name: str, device: int) -> Value:
    """A value plus the bias `name`, where the block has one."""
    return b.graph.like("add", value, bound=device) if name in kind else value
