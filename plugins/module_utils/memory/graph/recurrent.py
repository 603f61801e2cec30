# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Blocks with recurrent state as values of a graph: Mamba 1 and 2, gated delta net, short convolution. Pure.

Order of operations: llama.cpp src/models/mamba-base.cpp, delta-net-base.cpp, qwen3next.cpp, lfm2.cpp and
llm_graph_context::build_rs.
"""

from __future__ import annotations

from typing import Callable, Optional

from .graph_builder import Builder
from .kinds import Kind
from .norms import norm
from .tensors import F32, Value


def rows_of_state(b: Builder, memory: Value, width: int, read: Optional[Callable[[Value], Value]] = None) -> Value:
    """Clear a state, then read the states of the batch's sequences: [width, sequences].

    Args:
        b: the Builder.
        memory: the states.
        width: elements of a state.
        read: replaces the plain read of the rows.
    """
    g = b.graph
    states = g.view(memory, (width, b.sequences))
    cleared = g.view(states, (width,))
    zero = g.like("scale", cleared)
    zero.root = memory
    g.expand(zero)
    if read:
        made = g.expand(read(states))
        rest = g.view(g.new("get_rows", (states, b.state_rows("rest")), (width, b.sequences - 1)), (width, 0))
    else:
        rows = g.new("get_rows", (states, b.state_rows("all")), (width, b.sequences))
        made, rest = g.expand(g.view(rows, (width, b.sequences))), g.view(rows, (width, 0))
    # States of sequences outside the batch are moved: none in the graph that is reserved, but its nodes are there.
    g.expand(g.copy_into(memory, rest, (width, 0)))
    return made


def convolution_window(b: Builder, memory: Value, values: Value, conv: int) -> Value:
    """What a convolution reads, [conv - 1 + tokens, channels, sequences]; its end is kept for the next batch.

    Args:
        b: the Builder.
        memory: the convolution states.
        values: [channels, tokens, sequences] of the batch.
        conv: rows that the convolution looks at.
    """
    g = b.graph
    channels, tokens, count = values.shape[:3]
    history = g.view(rows_of_state(b, memory, (conv - 1) * channels), (conv - 1, channels, count))
    window = g.new("concat", (history, g.transpose(values)), (conv - 1 + tokens, channels, count))
    kept = g.view(window, (conv - 1, channels, count), window.strides)
    g.expand(g.copy_into(memory, kept, ((conv - 1) * channels, count)))
    return window


def mamba(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Mamba 1 (mamba, jamba)."""
    g, device, tokens, count = b.graph, b.device(layer), b.tokens // b.sequences, b.sequences
    conv, inner = kind["ssm_conv1d.weight"][:2]
    rank, state = kind["ssm_dt.weight"][0], kind["ssm_a"][0]
    r, s = b.states(layer)
    history = g.view(rows_of_state(b, r, (conv - 1) * inner), (conv - 1, inner, count))
    both = b.times(layer, "ssm_in", 2 * inner, g.view(value, (b.width, tokens, count)))
    x = g.view(both, (inner, tokens, count), both.strides)
    z = g.view(both, (inner, tokens, count), both.strides)
    window = g.new("concat", (history, g.transpose(x)), (conv - 1 + tokens, inner, count))
    g.expand(g.copy_into(r, g.view(window, (conv - 1, inner, count), window.strides), ((conv - 1) * inner * count,)))
    x = g.new("ssm_conv", (window,), (inner, tokens, count), bound=device)
    x = g.like("unary", g.like("add", x, bound=device))
    parts = b.times(layer, "ssm_x", rank + 2 * state, x)
    row = parts.strides
    dt = g.view(parts, (rank, tokens, count), row)
    first = g.view(parts, (state, 1, tokens, count), (F32, F32 * state, row[1], row[2]))
    second = g.view(parts, (state, 1, tokens, count), (F32, F32 * state, row[1], row[2]))
    if "ssm_dt_norm.weight" in kind:
        dt, first, second = (norm(b, part, True, layer) for part in (dt, first, second))
    else:
        dt = g.cont(dt)
    dt = g.like("add", b.times(layer, "ssm_dt", inner, dt), bound=device)
    skipped = x
    x = g.view(x, (1, inner, tokens, count))

    def scan(states):
        """The scan reads the states itself and gives them back behind its result."""
        return g.new(
            "ssm_scan",
            (g.view(states, (state, 1, inner, count)), x, dt, first, second, b.state_rows("batch")),
            (inner * tokens * count + state * inner * count,),
            bound=device,
        )

    scanned = rows_of_state(b, s, state * inner, scan)
    g.expand(g.copy_into(s, g.view(scanned, (state * inner * count,)), (state * inner * count,)))
    y = g.view(scanned, (inner, tokens, count))
    y = g.like("add", y, g.like("mul", skipped, bound=device))
    y = g.new("glu", (g.cont(z), y), (inner, tokens, count))
    return g.view(b.times(layer, "ssm_out", b.width, y), (b.width, b.tokens))


def mamba2(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Mamba 2 (mamba2, nemotron_h, granite hybrid, falcon-h1)."""
    g, device, tokens, count = b.graph, b.device(layer), b.tokens // b.sequences, b.sequences
    conv, channels = kind["ssm_conv1d.weight"][:2]
    inner = kind["ssm_out.weight"][0]
    heads = kind["ssm_dt.bias"][0]
    state, groups = b.hyper("ssm.state_size"), b.hyper("ssm.group_count") or 1
    size = inner // heads
    r, s = b.states(layer)
    parts = b.times(layer, "ssm_in", kind["ssm_in.weight"][1], value)
    parts = g.view(parts, (parts.shape[0], tokens, count))
    row = parts.strides
    z = g.view(parts, (size, heads, tokens, count), (F32, F32 * size, row[1], row[2]))
    mixed = g.view(parts, (channels, tokens, count), row)
    dt = g.view(parts, (heads, tokens, count), row)
    window = convolution_window(b, r, mixed, conv)
    mixed = g.new("ssm_conv", (window,), (channels, tokens, count), bound=device)
    if "ssm_conv1d.bias" in kind:
        mixed = g.like("add", mixed, bound=device)
    mixed = g.like("unary", mixed)
    row = mixed.strides
    x = g.view(mixed, (size, heads, tokens, count), (F32, F32 * size, row[1], row[2]))
    first, second = (
        g.view(mixed, (state, groups, tokens, count), (F32, F32 * state, row[1], row[2])) for unused in range(2)
    )
    dt = g.like("add", g.cont(dt), bound=device)

    def scan(states):
        """The scan reads the states itself and gives them back behind its result."""
        return g.new(
            "ssm_scan",
            (g.view(states, (state, size, heads, count)), x, dt, first, second, b.state_rows("batch")),
            (inner * tokens * count + state * inner * count,),
            bound=device,
        )

    scanned = rows_of_state(b, s, state * inner, scan)
    g.expand(g.copy_into(s, g.view(scanned, (state * inner, count)), (state * inner, count)))
    y = g.view(scanned, (size, heads, tokens, count))
    y = g.like("add", y, g.new("mul", (x,), x.shape, bound=device))
    y = g.new("glu", (g.cont(z), y), y.shape)
    if "ssm_norm.weight" in kind:
        y = norm(b, g.view(y, (inner // groups, groups, tokens, count)), True, layer)
    return b.times(layer, "ssm_out", b.width, g.view(y, (inner, b.tokens)))


def delta_net(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Gated delta net (qwen3next, qwen35)."""
    g, device, tokens, count = b.graph, b.device(layer), b.tokens // b.sequences, b.sequences
    conv, channels = kind["ssm_conv1d.weight"][:2]
    state, key_heads, heads = b.hyper("ssm.state_size"), b.hyper("ssm.group_count"), b.hyper("ssm.time_step_rank")
    inner = kind["ssm_out.weight"][0]
    size = inner // heads
    mixed, z = _mixed_and_gate(b, value, kind, layer)
    beta, gate = _beta_and_decay(b, value, kind, layer)
    r, s = b.states(layer)
    window = convolution_window(b, r, mixed, conv)
    old = g.view(rows_of_state(b, s, size * size * heads), (size, size, heads, count))
    mixed = g.like("unary", g.new("ssm_conv", (window,), (channels, tokens, count), bound=device))
    row = mixed.strides
    q, k = (
        g.view(mixed, (state, key_heads, tokens, count), (F32, F32 * state, row[1], row[1] * tokens))
        for unused in range(2)
    )
    v = g.view(mixed, (size, heads, tokens, count), (F32, F32 * size, row[1], row[1] * tokens))
    q, k = (g.like("scale", g.like("rms_norm", part)) for part in (q, k))
    if key_heads != heads and b.traits.repeats_keys:
        q, k = (_repeated(b, part, heads) for part in (q, k))
    kept = b.kept_states
    made = g.new("delta_net", (q, k, v, gate, beta, old), (size * heads, tokens * count + size * count * kept))
    g.expand(g.copy_into(s, g.view(made, (size * size * heads, count)), (size * size * heads, count)))
    out = g.view(made, (size, heads, tokens, count))
    z = g.view(z, (size, heads, tokens, count))
    out = g.like("mul", norm(b, out, True, layer), g.like("unary", z))
    return g.view(b.times(layer, "ssm_out", b.width, g.view(out, (inner, tokens, count))), (b.width, b.tokens))


def _mixed_and_gate(b, value, kind, layer):
    """(q, k and v of a delta net in one row, its output gate), from one matrix or from one each."""
    g, tokens, count = b.graph, b.tokens // b.sequences, b.sequences
    channels, inner = kind["ssm_conv1d.weight"][1], kind["ssm_out.weight"][0]
    if "attn_qkv.weight" in kind:
        mixed = g.view(b.times(layer, "attn_qkv", channels, value), (channels, tokens, count))
        return mixed, b.times(layer, "attn_gate", inner, value)
    state, key_heads, heads = b.hyper("ssm.state_size"), b.hyper("ssm.group_count"), b.hyper("ssm.time_step_rank")
    wide = inner // heads * heads // key_heads
    width = kind["ssm_in.weight"][1]
    both = g.view(b.times(layer, "ssm_in", width, value), (width // key_heads, key_heads, tokens, count))
    z = g.cont(g.view(both, (wide, key_heads, tokens, count), both.strides))
    q, k = (
        g.cont(g.view(both, (state, key_heads, tokens, count), both.strides), (state * key_heads, tokens, count))
        for unused in range(2)
    )
    v = g.cont(g.view(both, (wide, key_heads, tokens, count), both.strides), (inner, tokens, count))
    keys = g.new("concat", (q, k), (2 * state * key_heads, tokens, count))
    return g.new("concat", (keys, v), (channels, tokens, count)), z


def _beta_and_decay(b, value, kind, layer):
    """(beta, decay) of every head of a delta net, from one matrix or from one each."""
    g, device, tokens, count = b.graph, b.device(layer), b.tokens // b.sequences, b.sequences
    key_heads, heads = b.hyper("ssm.group_count"), b.hyper("ssm.time_step_rank")
    if "ssm_ba.weight" in kind:
        per = heads // key_heads
        both = g.view(b.times(layer, "ssm_ba", 2 * heads, value), (2 * per, key_heads, tokens, count))
        beta = g.like("unary", g.cont(g.view(both, (per, key_heads, tokens, count), both.strides)))
        alpha = g.cont(g.view(both, (per, key_heads, tokens, count), both.strides), (heads, tokens, count))
    else:
        beta = g.like("unary", g.view(b.times(layer, "ssm_beta", heads, value), (1, heads, tokens, count)))
        alpha = g.view(b.times(layer, "ssm_alpha", heads, value), (heads, tokens, count))
    decay = g.like("mul", g.like("unary", g.like("add", alpha, bound=device)), bound=device)
    return tuple(g.view(part, (1, heads, tokens, count)) for part in (beta, decay))


def _repeated(b, part, heads):
    """q or k of a delta net repeated for every head of v."""
    g = b.graph
    state, key_heads, tokens, count = part.shape
    rows = g.view(part, (state, 1, key_heads, tokens * count))
    repeated = g.new("repeat", (rows,), (state, heads // key_heads, key_heads, tokens * count))
    return g.view(repeated, (state, heads, tokens, count))


def short_convolution(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Gated short convolution (lfm2)."""
    g, device, tokens, count = b.graph, b.device(layer), b.tokens // b.sequences, b.sequences
    conv, width = kind["shortconv.conv.weight"][0], b.width
    both = b.times(layer, "shortconv.in_proj", 3 * width, g.view(value, (width, tokens, count)))
    first, gate, x = (g.view(both, (width, tokens, count), both.strides) for unused in range(3))
    window = convolution_window(b, b.states(layer)[0], g.new("mul", (first, x), first.shape), conv)
    made = g.new(
        "mul", (gate, g.new("ssm_conv", (window,), (width, tokens, count), bound=device)), (width, tokens, count)
    )
    return g.view(b.times(layer, "shortconv.out_proj", width, made), (width, b.tokens))
