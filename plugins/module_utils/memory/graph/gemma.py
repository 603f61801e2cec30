# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Blocks of gemma3n and gemma4: inputs per layer, alternating updates, two feed-forward parts side by side. Pure.

Order of operations: llama.cpp src/models/gemma3n.cpp and gemma4.cpp.
"""

from __future__ import annotations

from typing import Callable, List, Optional

from .attention import attention
from .feed_forward import experts, feed_forward
from .graph_builder import Builder
from .norms import norm
from .tensors import I32, Value

MAX_INPUTS = 64  # the models have 4
SPARSE_BLOCKS = 10  # the first blocks of gemma3n, whose gate is sparse


def blocks_of(b: Builder, embedded: Callable[[Builder], Value], order: List[int]) -> Value:
    """All blocks over the (scaled) embeddings that `embedded` makes; the result is what the output norm gets."""
    if not b.traits.altup:
        rows = b.graph.expand(per_layer_rows(b)) if b.traits.per_layer else None
        cur = embedded(b)
        inputs = per_layer_inputs(b, cur, b.graph.like("scale", rows)) if rows is not None else None
        for layer in order:
            cur = gemma4_block(b, cur, layer, inputs, layer == order[-1])
        return cur
    cur = embedded(b)
    inputs = per_layer_inputs(b, cur, b.graph.expand(b.graph.like("scale", per_layer_rows(b))))
    count = b.kinds[order[0]]["altup_router.weight"][1]
    if count > MAX_INPUTS:
        raise ValueError("%d alternating inputs" % count)  # a damaged header, which must not keep the plan busy
    cur = widened(b, cur, count)
    for layer in order:
        cur = gemma3n_block(b, cur, layer, inputs, count)
    return narrowed(b, cur, count)


def per_layer_rows(b: Builder) -> Value:
    """The second embedding, on the host: a row of `size` values for every token and block."""
    g = b.graph
    size = next(kind["inp_gate.weight"][1] for kind in b.kinds if kind)
    rows = g.new("get_rows", (g.given((b.tokens,), I32),), (size * b.model.block_count, b.tokens), bound=b.host)
    return g.view(rows, (size, b.model.block_count, b.tokens))


def per_layer_inputs(b: Builder, cur: Value, rows: Value) -> Value:
    """Those rows with a projection of the embeddings."""
    g = b.graph
    size, blocks_count = rows.shape[:2]
    # The projection's weights carry the number of block 0.
    device = b.device(0)
    projected = g.view(
        g.like("scale", b.times(0, "per_layer_model_proj", size * blocks_count, cur)), (size, blocks_count, b.tokens)
    )
    normed = g.like("mul", g.like("rms_norm", projected), bound=device)
    return g.cont(g.permute(g.like("scale", g.like("add", normed, rows)), (0, 2, 1, 3)))


def this_layer(b: Builder, inputs: Value, tokens: int) -> Value:
    """The rows of one block."""
    return b.graph.view(inputs, (inputs.shape[0], tokens), inputs.strides)


def gemma4_block(b: Builder, cur: Value, layer: int, inputs: Optional[Value], last: bool) -> Value:
    """One block of gemma4; `inputs`: the rows per layer, or None."""
    g, device, kind = b.graph, b.device(layer), b.kinds[layer]
    came = cur
    cur = attention(b, norm(b, cur, True, layer), kind, layer)
    every = b.tokens
    if last:
        cur, came = b.pick(cur, came)
    out = g.like("add", norm(b, cur, True, layer), came)
    if "ffn_gate_inp.weight" in kind:
        dense = norm(b, feed_forward(b, norm(b, out, True, layer), kind, layer), True, layer)
        routed = norm(b, out, True, layer)
        place = b.matrix_device(layer, "gate")
        router = g.like("mul", g.like("scale", g.like("rms_norm", out)), bound=place)
        logits = b.times(layer, "ffn_gate_inp", kind["ffn_gate_inp.weight"][1], router, place)
        routed = norm(b, experts(b, routed, kind, layer, logits), True, layer)
        cur = g.like("add", dense, routed)
    else:
        cur = feed_forward(b, norm(b, out, True, layer), kind, layer)
    cur = g.like("add", norm(b, cur, True, layer), out)
    if inputs is not None:
        gate = g.like("unary", b.times(layer, "inp_gate", inputs.shape[0], cur))
        mine = this_layer(b, inputs, every)
        if last:
            (mine,) = b.pick(mine)
        added = b.times(layer, "proj", b.width, g.like("mul", gate, mine))
        cur = g.like("add", cur, norm(b, added, True, layer))
    return g.like("mul", cur, bound=device) if "layer_output_scale.weight" in kind else cur


# --- gemma3n: `count` versions of the residual stream, predicted and corrected in turns ------------------------------


def part(b: Builder, value: Value) -> Value:
    """One version of the stream."""
    return b.graph.view(value, (b.width, b.tokens), value.strides)


def magnitude(b: Builder, value: Value) -> Value:
    """Length of every row."""
    g = b.graph
    return g.like("sqrt", g.new("sum_rows", (g.like("sqr", value),), (1,) + value.shape[1:]))


def widened(b: Builder, cur: Value, count: int) -> Value:
    """`count` versions of the embeddings, projected and brought to one length."""
    g = b.graph
    target = magnitude(b, cur)
    repeated = g.new("repeat", (cur,), (b.width, b.tokens, count - 1))
    added = b.times(None, "altup_proj", b.width, repeated)
    scaled = g.like("div", g.like("mul", added, target), magnitude(b, added))
    return g.new("concat", (cur, scaled), (b.width, b.tokens, count))


def narrowed(b: Builder, cur: Value, count: int) -> Value:
    """The versions projected back and averaged."""
    g = b.graph
    target = magnitude(b, part(b, cur))
    rest = g.view(cur, (b.width, b.tokens, count - 1), cur.strides)
    back = b.times(None, "altup_unembd_proj", b.width, rest)
    back = g.like("div", g.like("mul", back, target), magnitude(b, back))
    total = part(b, cur)
    for unused in range(count - 1):
        total = g.new("add", (total, part(b, back)), (b.width, b.tokens))
    return g.like("scale", total)


def router(b: Builder, value: Value, layer: int, count: int) -> Value:
    """Weight of every version."""
    g = b.graph
    normed = g.like("scale", norm(b, value, True, layer))
    return g.like("unary", b.times(layer, "altup_router", count, normed))


def predicted(b: Builder, cur: Value, layer: int, count: int) -> Value:
    """All versions predicted from each other."""
    g = b.graph
    chosen = router(b, part(b, cur), layer, count)
    weights = g.view(b.times(layer, "altup_predict_coef", count * count, chosen), (count, count, b.tokens))
    turned = g.cont(g.permute(cur, (1, 2, 0, 3)))
    made = g.matmul_values(turned, weights)
    return g.like("add", g.cont(g.permute(made, (0, 2, 1, 3))), cur)


def corrected(b: Builder, predictions: Value, activated: Value, layer: int, count: int) -> Value:
    """All versions corrected by what the block made of one."""
    g = b.graph
    chosen = router(b, activated, layer, count)
    innovation = g.new("sub", (activated, part(b, predictions)), activated.shape)
    weights = g.cont(
        g.transpose(g.like("scale", b.times(layer, "altup_correct_coef", count, chosen))), (1, b.tokens, count)
    )
    spread = g.new("repeat", (innovation,), (b.width, b.tokens, count))
    return g.like("add", g.like("mul", spread, weights), predictions)


def sparse(b: Builder, gate: Value) -> Value:
    """Only the largest values of the gate are kept."""
    g = b.graph
    mean = g.new("mean", (gate,), (1, b.tokens))
    spread = g.like(
        "sqrt", g.like("scale", g.new("sum_rows", (g.like("sqr", g.like("sub", gate, mean)),), (1, b.tokens)))
    )
    cutoff = g.like("add", mean, g.like("scale", spread))
    return g.like("unary", g.like("sub", gate, cutoff))


def gemma3n_block(b: Builder, cur: Value, layer: int, inputs: Value, count: int) -> Value:
    """One block of gemma3n over all `count` versions of the stream; `inputs`: the rows per layer."""
    g, device, kind = b.graph, b.device(layer), b.kinds[layer]
    predictions = predicted(b, cur, layer, count)
    active = part(b, predictions)
    normed = norm(b, active, True, layer)
    rank = kind["laurel_l.weight"][1]
    side = b.times(layer, "laurel_r", b.width, b.times(layer, "laurel_l", rank, normed))
    side = g.like("add", norm(b, side, True, layer), normed)
    cur = norm(b, attention(b, normed, kind, layer), True, layer)
    cur = g.like("add", cur, active)
    both = g.like("scale", g.like("add", cur, side))
    cur = norm(b, both, True, layer)
    inner = kind["ffn_up.weight"][1]
    up, gate = b.times(layer, "ffn_up", inner, cur), b.times(layer, "ffn_gate", inner, cur)
    if layer < SPARSE_BLOCKS:
        gate = sparse(b, gate)
    cur = b.times(layer, "ffn_down", b.width, g.like("mul", up, g.like("unary", gate)))
    cur = g.like("add", norm(b, cur, True, layer), both)
    right = corrected(b, predictions, cur, layer, count)
    first = g.new("mul", (part(b, right),), (b.width, b.tokens), bound=device)
    first = g.like("unary", b.times(layer, "inp_gate", inputs.shape[0], first))
    first = g.like("mul", first, this_layer(b, inputs, b.tokens))
    first = norm(b, b.times(layer, "proj", b.width, first), True, layer)
    rest = g.new(
        "add", (g.view(right, (b.width, b.tokens, count - 1), right.strides), first), (b.width, b.tokens, count - 1)
    )
    return g.new("concat", (part(b, right), rest), (b.width, b.tokens, count))
