# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Encoders of embedding models as values of a graph: no cache, every token sees every other of the batch. Pure.

Order of operations: llama.cpp src/models/bert.cpp, gemma-embedding.cpp and llm_graph_context::build_attn (llm_graph_input_attn_no_cache).
"""

from __future__ import annotations

from . import blocks
from .tensors import F16, F32


def attend(b, layer, q, k, v, size, value_size, kv_heads):
    """Mix without a cache: [value_size * heads, tokens]."""
    g = b.graph
    for part in (q, k, v):
        g.expand(part)
    heads, tokens = q.shape[1], b.tokens
    mask = b.once(("mask of the batch", b.windowed[layer]), lambda: g.given((tokens, tokens), F16 if b.flash else F32))
    q, k, v = (g.permute(part, (0, 2, 1, 3)) for part in (q, k, v))
    if b.flash:
        k, v = (g.new("cast", (part,), part.shape, F16) for part in (k, v))
        mixed = g.new("flash_attn", (q, k, v, mask), (value_size, heads, tokens))
        return g.expand(g.view(mixed, (value_size * heads, tokens)))
    scores = g.like("soft_max", g.new("mul_mat", (k, q), (tokens, tokens, heads)), mask)
    values = g.new("cont", (g.transpose(v),), (tokens, value_size, kv_heads))
    mixed = g.new("mul_mat", (values, scores), (value_size, tokens, heads))
    return g.expand(g.cont(g.permute(mixed, (0, 2, 1, 3)), (value_size * heads, tokens)))


def places(b, cur):
    """Embeddings of the tokens' positions."""
    return b.graph.new("get_rows", (b.positions,), cur.shape, bound=b.host)


def with_places(b, cur, has_positions):
    """Token embeddings plus those of the token's type and (bert) its position; their norm belongs to the first layer (LLM_TENSOR_INFOS)."""
    g, device = b.graph, b.device(0)
    kind = g.stored((b.width,), F32, b.host)
    cur = g.like("add", cur, g.view(kind, (b.width,)))
    if has_positions:
        cur = g.like("add", places(b, cur), cur)
    return g.like("add", g.like("mul", g.like("norm", cur), bound=device), bound=device)


def block(b, cur, kind, layer, last):
    """One block of bert and nomic-bert: norms come after the sums."""
    g, device = b.graph, b.device(layer)
    made, came = blocks.attention(b, cur, kind, layer), cur
    if last:
        made, came = b.pick(made, came)
    cur = blocks.norm(b, g.like("add", made, came), True, layer, plain=True)
    cur = blocks.with_bias(b, cur, kind, "attn_output_norm.bias", device)
    cur = g.like("add", blocks.feed_forward(b, cur, kind, layer), cur)
    cur = blocks.norm(b, cur, True, layer, plain=True)
    return blocks.with_bias(b, cur, kind, "layer_output_norm.bias", device)
