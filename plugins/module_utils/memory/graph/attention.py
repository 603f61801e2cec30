# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Attention as values of a graph: multi-head and gated, with a KV cache and without. Pure.

Which parts a block has is read from its tensors (`kind`), not from the architecture's name. The order of operations is
that of llama.cpp's builders (src/llama-graph.cpp build_qkv, build_attn, build_attn_mha, llm_graph_input_attn_no_cache).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Tuple

from ...model import architecture
from .. import kv_cache
from .graph_builder import Builder
from .kinds import Kind
from .norms import norm, with_bias
from .tensors import F16, F32, Value, contiguous


@dataclasses.dataclass(frozen=True)
class Heads:
    """The heads of a block: number of query heads and of KV heads, elements of a key and of a value of one head."""

    count: int
    kv_count: int
    size: int
    value_size: int


Parts = Tuple[Value, Any, Any]  # q, k, v; k and v are None where a block has none of its own


def heads_of(b: Builder, layer: int) -> Heads:
    """The heads of a block."""
    size, value_size = b.head_sizes(layer)
    return Heads(b.heads[layer], b.kv_heads[layer], size, value_size)


def rotate(b: Builder, value: Value) -> Value:
    """Rotary positions."""
    return b.graph.like("rope", value, b.positions)


def hadamard(b: Builder, value: Value, rotation: Value) -> Value:
    """Rotation of a quantized cache's rows: a product of rows of the matrix's width (llama-graph.cpp
    `ggml_mul_mat_aux`). What has gaps, as a part of a fused q, k and v, is copied first."""
    g = b.graph
    width = rotation.shape[0]
    count = value.shape[0] * value.shape[1] * value.shape[2] * value.shape[3] // width
    whole = value.strides == contiguous(value.shape, value.element)
    flat = g.view(value, (width, count)) if whole else g.cont(value, (width, count, 1, 1))
    return g.view(g.matmul_values(rotation, flat), value.shape)


def queries_keys_values(b: Builder, value: Value, kind: Kind, layer: int, heads: Heads) -> Parts:
    """q, k, v as [size, heads, tokens]; k or v None where the block has none of its own."""
    g, device = b.graph, b.device(layer)
    if "attn_qkv.weight" in kind:
        fused = b.times(layer, "attn_qkv", kind["attn_qkv.weight"][1], value)
        fused = with_bias(b, fused, kind, "attn_qkv.bias", device)
        row = fused.strides[1]

        def part(width, count):
            """One of q, k and v inside the rows of all three."""
            return g.view(fused, (width, count, b.tokens), (F32, F32 * width, row, row * b.tokens))

        return (part(heads.size, heads.count), part(heads.size, heads.kv_count), part(heads.value_size, heads.kv_count))
    wide = kind.get("attn_q_norm.weight", (0,))[0] > heads.size  # norms over all heads at once: reshaped afterwards

    def project(name, width, count):
        """One of q, k and v from a matrix of its own."""
        if name + ".weight" not in kind:
            return None
        made = with_bias(b, b.times(layer, name, width * count, value), kind, name + ".bias", device)
        return made if wide else g.view(made, (width, count, b.tokens))

    return (
        project("attn_q", heads.size, heads.count),
        project("attn_k", heads.size, heads.kv_count),
        project("attn_v", heads.value_size, heads.kv_count),
    )


def attention(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Self-attention of a block, from its normed input to its output projection."""
    g, device = b.graph, b.device(layer)
    heads = heads_of(b, layer)
    q, k, v = queries_keys_values(b, value, kind, layer, heads)
    if architecture.cache_owner(b.model, layer) != layer:
        k = v = None  # an earlier block's cache serves this one, even where the file has matrices for it
    if k is not None and v is None:
        v = k  # gemma4's full layers: the keys are the values
    norm_last = b.traits.norm_after_rope
    if not norm_last:
        q = head_norm(b, q, kind, "attn_q_norm", layer)
        k = head_norm(b, k, kind, "attn_k_norm", layer) if k is not None else None
        if q.shape[1] == b.tokens and q.shape[2] == 1 and heads.count > 1:
            q, k, v = _by_heads(b, (q, k, v), heads)
    if b.traits.values_normed and v is not None:
        v = g.like("rms_norm", v)
    if b.has_positions(layer):
        q = rotate(b, q)
        k = rotate(b, k) if k is not None else None
    elif b.traits.scaled_queries:
        q = g.like("mul", q, b.scale)  # llama4: by the position's temperature instead
    if norm_last:
        k = head_norm(b, k, kind, "attn_k_norm", layer)
        q = head_norm(b, q, kind, "attn_q_norm", layer)
    elif b.traits.norm_without_weights and b.has_positions(layer):
        q, k = g.like("rms_norm", q), g.like("rms_norm", k)
    if b.traits.queries_scaled:
        q = g.like("scale", q)
    mixed = (attend_uncached if b.traits.encoder else attend)(b, layer, (q, k, v), heads)
    out = b.times(layer, "attn_output", b.width, mixed)
    return with_bias(b, out, kind, "attn_output.bias", device)


def _by_heads(b, parts, heads):
    """q, k and v, one row per token, as [size, heads, tokens]."""
    q, k, v = parts
    return (
        b.graph.view(q, (heads.size, heads.count, b.tokens)),
        b.graph.view(k, (heads.size, heads.kv_count, b.tokens)),
        b.graph.view(v, (heads.value_size, heads.kv_count, b.tokens)),
    )


def head_norm(b: Builder, value: Value, kind: Kind, name: str, layer: int) -> Value:
    """Norm of q or k, where the block has weights for it."""
    if name + ".weight" not in kind:
        return value
    return norm(b, value, True, layer, b.traits.layer_norm)


def gated_attention(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Attention with a gate beside every head of q (qwen3next, qwen35), which scales the result: q is twice as wide."""
    g = b.graph
    heads = heads_of(b, layer)
    size, value_size, count, kv_count = heads.size, heads.value_size, heads.count, heads.kv_count
    both = b.times(layer, "attn_q", 2 * size * count, value)
    k, v = (b.times(layer, name, width * kv_count, value) for name, width in (("attn_k", size), ("attn_v", value_size)))
    both = g.view(both, (2 * size, count, b.tokens))
    q = g.view(both, (size, count, b.tokens), both.strides)
    gate = g.view(both, (size, count, b.tokens), both.strides)
    k, v = (g.view(part, (width, kv_count, b.tokens)) for part, width in ((k, size), (v, value_size)))
    q = rotate(b, norm(b, q, True, layer))
    k = rotate(b, norm(b, k, True, layer))
    mixed = attend(b, layer, (q, k, v), heads)
    gate = g.like("unary", g.cont(gate, (size * count, b.tokens)))
    return b.times(layer, "attn_output", b.width, g.like("mul", mixed, gate))


# --- mixing with a KV cache ------------------------------------------------------------------------------------------


def attend(b: Builder, layer: int, parts: Parts, heads: Heads, latent: Optional[int] = None) -> Value:
    """Store k and v, then mix.

    Args:
        b: the Builder.
        layer: the block.
        parts: q, k, v; k and v None where an earlier block's cache serves this one.
        heads: the heads of the cached rows.
        latent: elements of a value after the shared row is unpacked (MLA), where v is part of k; else None.

    Returns:
        [value_size * heads, tokens].
    """
    g = b.graph
    memory = b.cache(layer)
    windowed = b.windowed[layer]
    q, k, v = parts
    key_rotation, value_rotation = (
        b.rotation(which, width, windowed) if width else None for which, width in zip("kv", memory.rotations)
    )
    if key_rotation is not None:
        q = hadamard(b, q, key_rotation)
        k = hadamard(b, k, key_rotation) if k is not None else None
    if value_rotation is not None and v is not None:
        v = hadamard(b, v, value_rotation)
    for part in (q, k, v) if b.traits.windowed else (q, v, k):
        if part is not None:
            g.expand(part)
    mask = b.mask(windowed)
    if k is not None:
        rows = g.view(k, (k.shape[0] * k.shape[1], b.tokens))
        g.expand(g.store(memory.k, rows, b.indices("k", windowed)))
    if v is not None and latent is None:
        g.expand(g.store(memory.v, _value_rows(b, v), b.indices("v", windowed)))
    per_stream = b.tokens // memory.streams
    q = g.permute(
        g.view(
            q,
            (heads.size, q.shape[1], per_stream, memory.streams),
            (F32, q.strides[1], q.strides[2], q.strides[2] * per_stream),
        ),
        (0, 2, 1, 3),
    )
    keys = g.view(memory.k, (heads.size, heads.kv_count, memory.cells, memory.streams))
    values = keys
    if latent is None:
        values = _cached_values(b, memory, heads)
    keys, values = g.permute(keys, (0, 2, 1, 3)), g.permute(values, (0, 2, 1, 3))
    mix = _mixed_by_flash_attention if b.flash else _mixed_by_scores
    mixed = g.expand(mix(b, layer, (q, keys, values), mask, heads.value_size, latent))
    return mixed if value_rotation is None else hadamard(b, mixed, value_rotation)


def _cached_values(b, memory, heads):
    """The values in the cache of a block.

    Without flash attention the streams lie as far apart as in the widest block of the model (`get_v` in
    src/llama-kv-cache.cpp), also in narrower ones; a copy on another device spans all of that.
    """
    g = b.graph
    values = g.view(memory.v, (heads.value_size, heads.kv_count, memory.cells, memory.streams))
    widest = 0 if b.flash else kv_cache.widest_value(b.model)
    if not widest:
        return values
    strides = values.strides[:3] + (memory.cells * widest * memory.v.element,)
    return g.view(memory.v, values.shape, strides)


def _value_rows(b, v):
    """v as the rows that are stored; without flash attention V is kept transposed, each element in its own cell."""
    g, width = b.graph, v.shape[0] * v.shape[1]
    if b.flash:
        return g.view(v, (width, b.tokens))
    flat = v if v.strides[2] == F32 * width else g.cont(v, (width, b.tokens))
    return g.view(flat, (1, width * b.tokens))


def _mixed_by_flash_attention(b, layer, parts, mask, width, latent):
    """q, keys and values (of `width` elements) mixed in one operation: [width * heads, tokens]."""
    g = b.graph
    q, keys, values = parts
    per_stream, count, streams = q.shape[1:]
    sources = (q, keys, values, mask)
    if "attn_sinks.weight" in b.kinds[layer]:
        # They do not bind the operation, they are too small.
        sources = g.with_weight(sources, (count,), b.device(layer), None)
    mixed = g.new("flash_attn", sources, (width, count, per_stream, streams))
    if latent:
        mixed = b.times(layer, "attn_v_b", latent, g.permute(mixed, (0, 2, 1, 3)))
        mixed = g.cont(g.permute(mixed, (0, 2, 1, 3)))
        width = latent
    return g.view(mixed, (width * count, b.tokens))


def _mixed_by_scores(b, layer, parts, mask, width, latent):
    """q, keys and values (of `width` elements) mixed by scores of every query and cell: [width * heads, tokens]."""
    g = b.graph
    q, keys, values = parts
    per_stream, count, streams = q.shape[1:]
    cells, kv_count = values.shape[1:3]
    scores = g.new("mul_mat", (keys, q), (cells, per_stream, count, streams))
    if b.traits.softcap:
        scores = g.like("scale", g.like("unary", g.like("scale", scores)))
    sinks = "attn_sinks.weight" in b.kinds[layer]
    scores = g.like("soft_max", scores, mask, bound=b.device(layer) if sinks else None)
    if latent is not None:
        # The row is no transposed cache here: llama.cpp turns a copy of it.
        values = g.new("cont", (g.transpose(values),), (cells, width, kv_count, streams), values.element)
    mixed = g.new("mul_mat", (values, scores), (width, per_stream, count, streams))
    if latent:
        mixed = b.times(layer, "attn_v_b", latent, mixed)
        width = latent
    return g.cont(g.permute(mixed, (0, 2, 1, 3)), (width * count, b.tokens))


# --- mixing without a cache ------------------------------------------------------------------------------------------


def attend_uncached(b: Builder, layer: int, parts: Parts, heads: Heads) -> Value:
    """Mix in an encoder, where every token sees every other of the batch: [value_size * heads, tokens]."""
    g = b.graph
    for part in parts:
        g.expand(part)
    q, k, v = parts
    count, tokens, width = q.shape[1], b.tokens, heads.value_size
    mask = b.once(("mask of the batch", b.windowed[layer]), lambda: g.given((tokens, tokens), F16 if b.flash else F32))
    q, k, v = (g.permute(part, (0, 2, 1, 3)) for part in (q, k, v))
    if b.flash:
        k, v = (g.new("cast", (part,), part.shape, F16) for part in (k, v))
        mixed = g.new("flash_attn", (q, k, v, mask), (width, count, tokens))
        return g.expand(g.view(mixed, (width * count, tokens)))
    scores = g.like("soft_max", g.new("mul_mat", (k, q), (tokens, tokens, count)), mask)
    values = g.new("cont", (g.transpose(v),), (tokens, width, heads.kv_count))
    mixed = g.new("mul_mat", (values, scores), (width, tokens, count))
    return g.expand(g.cont(g.permute(mixed, (0, 2, 1, 3)), (width * count, tokens)))
