# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Encoders of embedding models as values of a graph: no cache, norms after the sums. Pure.

Order of operations: llama.cpp src/models/bert.cpp, gemma-embedding.cpp.
"""

from __future__ import annotations

from .attention import attention
from .feed_forward import feed_forward
from .graph_builder import Builder
from .kinds import Kind
from .norms import norm, with_bias
from .tensors import F32, Value


def position_embeddings(b: Builder, cur: Value) -> Value:
    """Embeddings of the tokens' positions."""
    return b.graph.new("get_rows", (b.positions,), cur.shape, bound=b.host)


def with_token_types(b: Builder, cur: Value, has_positions: bool) -> Value:
    """Token embeddings plus those of the token's type and (bert) its position.

    Their norm belongs to the first layer (LLM_TENSOR_INFOS).
    """
    g, device = b.graph, b.device(0)
    types = g.stored((b.width,), F32, b.host)
    cur = g.like("add", cur, g.view(types, (b.width,)))
    if has_positions:
        cur = g.like("add", position_embeddings(b, cur), cur)
    return g.like("add", g.like("mul", g.like("norm", cur), bound=device), bound=device)


def block(b: Builder, cur: Value, kind: Kind, layer: int, last: bool) -> Value:
    """One block of bert and nomic-bert: norms come after the sums."""
    g, device = b.graph, b.device(layer)
    made, came = attention(b, cur, kind, layer), cur
    if last:
        made, came = b.pick(made, came)
    cur = norm(b, g.like("add", made, came), True, layer, plain=True)
    cur = with_bias(b, cur, kind, "attn_output_norm.bias", device)
    cur = g.like("add", feed_forward(b, cur, kind, layer), cur)
    cur = norm(b, cur, True, layer, plain=True)
    return with_bias(b, cur, kind, "layer_output_norm.bias", device)
