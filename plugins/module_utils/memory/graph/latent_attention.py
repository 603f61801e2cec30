# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Multi-head latent attention, whose cache holds a compressed row (deepseek2, minicpm3). Pure."""

from __future__ import annotations

from .attention import Heads, attend, rotate
from .graph_builder import Builder
from .kinds import Kind
from .norms import norm
from .tensors import F32, Value


def latent_attention(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Multi-head latent attention (deepseek2, minicpm3).

    With attn_k_b the cache has one row for all heads, else k and v are unpacked first.
    """
    g = b.graph
    count, rank, rope = b.heads[layer], b.hyper("attention.kv_lora_rank"), b.hyper("rope.dimension_count")
    absorbed = "attn_k_b.weight" in kind
    key = b.hyper("attention.key_length_mla") if absorbed else b.head_sizes(layer)[0]
    unpacked = b.hyper("attention.value_length_mla") if absorbed else b.head_sizes(layer)[1]
    if "attn_q_a.weight" in kind:
        q = norm(b, b.times(layer, "attn_q_a", kind["attn_q_a.weight"][1], value), True, layer)
        q = b.times(layer, "attn_q_b", count * key, q)
    else:
        q = b.times(layer, "attn_q", count * key, value)
    q = g.view(q, (key, count, b.tokens))
    both = b.times(layer, "attn_kv_a_mqa", rank + rope, value)
    row = both.strides[1]
    compressed = g.view(both, (rank, b.tokens), (F32, row, row * b.tokens, row * b.tokens))
    k_rope = rotate(b, g.view(both, (rope, 1, b.tokens), (F32, row, row, row * b.tokens)))
    compressed = norm(b, compressed, True, layer)
    if absorbed:
        mixed = _absorbed(b, layer, q, (compressed, k_rope), unpacked)
    else:
        mixed = _unpacked(b, layer, q, (compressed, k_rope), unpacked)
    return b.times(layer, "attn_output", b.width, mixed)


def _absorbed(b, layer, q, row, unpacked):
    """Mix against the cached row of all heads; `row`: its compressed and its rotary part."""
    g = b.graph
    compressed, k_rope = row
    rank, rope = compressed.shape[0], k_rope.shape[0]
    count = q.shape[1]
    q_nope = g.view(q, (q.shape[0] - rope, count, b.tokens), q.strides)
    q_rope = rotate(b, g.view(q, (rope, count, b.tokens), q.strides))
    q_nope = g.new(
        "mul_mat",
        (g.permute(q_nope, (0, 2, 1, 3)),),
        (rank, b.tokens, count),
        bound=b.device(layer),
        weight=b.bytes(layer, "attn_k_b.weight"),
    )
    q = g.new("concat", (g.permute(q_nope, (0, 2, 1, 3)), q_rope), (rank + rope, count, b.tokens))
    compressed = g.view(compressed, (rank, 1, b.tokens))
    k = g.new("concat", (compressed, k_rope), (rank + rope, 1, b.tokens))
    return attend(b, layer, (q, k, compressed), Heads(count, 1, rank + rope, rank), latent=unpacked)


def _unpacked(b, layer, q, row, unpacked):
    """Unpack k and v of every head from the row, then mix as multi-head attention does."""
    g = b.graph
    compressed, k_rope = row
    key, count, rope = q.shape[0], q.shape[1], k_rope.shape[0]
    nope = key - rope
    both = b.times(layer, "attn_kv_b", count * (nope + unpacked), compressed)
    step = F32 * (nope + unpacked)
    strides = (F32, step, step * count, step * count * b.tokens)
    k_nope = g.view(both, (nope, count, b.tokens), strides)
    v = g.cont(g.view(both, (unpacked, count, b.tokens), strides))
    q = rotate(b, q)
    k = g.new("concat", (k_nope, g.new("repeat", (k_rope,), (rope, count, b.tokens))), (key, count, b.tokens))
    return attend(b, layer, (q, k, v), Heads(count, count, key, unpacked))
