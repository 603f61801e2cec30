# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The feed-forward part of a block as values of a graph: dense, or a mixture of experts. Pure.

Which parts a block has is read from its tensors (`kind`). The order of operations is that of llama.cpp's builders
(src/llama-graph.cpp build_ffn, build_moe_ffn).
"""

from __future__ import annotations

from typing import Optional

from .graph_builder import Builder
from .kinds import Kind
from .norms import with_bias
from .tensors import F32, I32, Value

MAX_USED_EXPERTS = 512  # the models use up to 22 of them


def forward(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """The feed-forward part of a block: experts or dense."""
    if "ffn_down_exps.weight" in kind:
        return mixture(b, value, kind, layer)
    return feed_forward(b, value, kind, layer)


def feed_forward(b: Builder, value: Value, kind: Kind, layer: int, suffix: str = "") -> Value:
    """Up, gate, down. A gate in the same matrix as up (twice as wide) counts as one.

    Args:
        b: the Builder.
        value: the normed input.
        kind: tensors of the block.
        layer: the block.
        suffix: "_shexp" for the shared expert.
    """
    g = b.graph
    up_device, gate_device, down_device = (b.matrix_device(layer, part) for part in ("up", "gate", "down"))
    up_width, inner = kind["ffn_up%s.weight" % suffix][1], kind["ffn_down%s.weight" % suffix][0]
    up = with_bias(
        b, b.times(layer, "ffn_up" + suffix, up_width, value, up_device), kind, "ffn_up%s.bias" % suffix, up_device
    )
    if "ffn_gate%s.weight" % suffix in kind:
        gate = with_bias(
            b,
            b.times(layer, "ffn_gate" + suffix, inner, value, gate_device),
            kind,
            "ffn_gate%s.bias" % suffix,
            gate_device,
        )
        made = g.like("glu", gate, up)
    elif up_width == 2 * inner:
        made = g.new("glu", (up,), (inner, b.tokens))
    else:
        made = g.like("unary", up)
        if b.traits.squared:
            made = g.like("sqr", made)
    out = b.times(layer, "ffn_down" + suffix, b.width, made, down_device)
    return with_bias(b, out, kind, "ffn_down%s.bias" % suffix, down_device)


def experts(b: Builder, value: Value, kind: Kind, layer: int, logits: Optional[Value] = None) -> Value:
    """The experts that a token uses, weighed and summed.

    Args:
        b: the Builder.
        value: the normed input.
        kind: tensors of the block.
        layer: the block.
        logits: what the router made, where it does not work on `value`.

    Raises:
        ValueError: more experts per token than any model has.
    """
    g = b.graph
    if b.used_experts > MAX_USED_EXPERTS:
        raise ValueError("%d experts a token" % b.used_experts)  # a damaged header, which must not keep the plan busy
    width = kind["ffn_down_exps.weight"][1]
    chosen, weights = _routed(b, value, kind, layer, logits)
    g.expand(weights)
    rows = g.view(value, (width, 1, b.tokens))
    if b.traits.weighs_before:
        rows = g.like("mul", g.new("repeat", (rows,), (width, b.used_experts, b.tokens)), weights)
    out = b.times_chosen(layer, "down", width, _inside_experts(b, rows, kind, layer, chosen), chosen)
    if not b.traits.weighs_before:
        out = g.like("mul", out, weights)
    g.expand(out)
    step = out.strides[2]
    views = [
        g.expand(g.view(out, (width, b.tokens), (F32, step, step * b.tokens, step * b.tokens)))
        for unused in range(b.used_experts)
    ]
    total = views[0]
    for one in views[1:]:
        total = g.expand(g.new("add", (total, one), (width, b.tokens)))
    return g.cont(total) if b.used_experts == 1 else total


def _routed(b, value, kind, layer, logits):
    """(numbers of the experts that each token uses, their weights)."""
    g, device = b.graph, b.device(layer)
    count, used = kind["ffn_down_exps.weight"][2], b.used_experts
    if logits is None:
        router = b.matrix_device(layer, "gate")
        logits = with_bias(b, b.times(layer, "ffn_gate_inp", count, value, router), kind, "ffn_gate_inp.bias", router)
    gating = b.traits.gating
    chances = logits if gating == "late" else g.like("unary" if gating == "sigmoid" else "soft_max", logits)
    choice = g.like("add", chances, bound=device) if "exp_probs_b.bias" in kind else chances
    if b.traits.weighs_before:
        choice = logits
    groups = b.hyper("expert_group_count") or 1
    if groups > 1:
        choice = chosen_groups(b, choice, count, groups)
    chosen = g.view(
        g.new("argsort", (choice,), choice.shape, I32),
        (used, b.tokens),
        (I32, I32 * count, I32 * count * b.tokens, I32 * count * b.tokens),
    )
    weights = g.new("get_rows", (g.view(chances, (1, count, b.tokens)), chosen), (1, used, b.tokens))
    if gating == "late":
        weights = g.view(g.like("soft_max", g.view(weights, (used, b.tokens))), (1, used, b.tokens))
    if b.traits.normed_experts:
        flat = g.view(weights, (used, b.tokens))
        total = g.like("clamp", g.new("sum_rows", (flat,), (1, b.tokens)))
        weights = g.view(g.like("div", flat, total), (1, used, b.tokens))
    if (b.hyper("expert_weights_scale") or 0) not in (0, 1):
        weights = g.like("scale", weights)
    return chosen, weights


def _inside_experts(b, rows, kind, layer, chosen):
    """What the chosen experts have between their matrices: [inner, experts used, tokens]."""
    g, used = b.graph, b.used_experts
    inner = kind["ffn_down_exps.weight"][0]
    if "ffn_gate_up_exps.weight" in kind:
        both = b.times_chosen(layer, "gate_up", 2 * inner, rows, chosen)
        gate, up = (g.view(both, (inner, used, b.tokens), both.strides) for unused in range(2))
        return g.new("glu", (gate, up), (inner, used, b.tokens))
    up = b.times_chosen(layer, "up", inner, rows, chosen)
    if "ffn_gate_exps.weight" in kind:
        return g.like("glu", b.times_chosen(layer, "gate", inner, rows, chosen), up)
    made = g.like("unary", up)
    return g.like("sqr", made) if b.traits.squared else made


def chosen_groups(b: Builder, choice: Value, count: int, groups: int) -> Value:
    """Only the best groups of experts keep their chances (deepseek-v3 with expert_group_count)."""
    g = b.graph
    size, kept = count // groups, b.hyper("expert_group_used_count") or 1
    grouped = g.view(choice, (size, groups, b.tokens))
    best = g.view(
        g.new("argsort", (grouped,), grouped.shape, I32),
        (2, groups, b.tokens),
        (I32, I32 * size, I32 * count, I32 * count * b.tokens),
    )
    scores = g.new("get_rows", (g.view(grouped, (1, size, groups, b.tokens)), best), (1, 2, groups, b.tokens))
    scores = g.view(
        g.new("sum_rows", (g.view(scores, (2, groups, b.tokens)),), (1, groups, b.tokens)), (groups, b.tokens)
    )
    which = g.view(
        g.new("argsort", (scores,), scores.shape, I32),
        (kept, b.tokens),
        (I32, I32 * groups, I32 * groups * b.tokens, I32 * groups * b.tokens),
    )
    taken = g.new("get_rows", (grouped, which), (size, kept, b.tokens))
    empty = g.like("fill", grouped)
    return g.view(g.store(empty, taken, which), (count, b.tokens))


def mixture(b: Builder, value: Value, kind: Kind, layer: int) -> Value:
    """Experts with the one that every token passes beside them, where the block has it."""
    g = b.graph
    if b.traits.shared_first and "ffn_up_shexp.weight" in kind:
        shared = feed_forward(b, value, kind, layer, "_shexp")
        return g.new("add", (experts(b, value, kind, layer), shared), (b.width, b.tokens))
    out = experts(b, value, kind, layer)
    if "ffn_up_shexp.weight" not in kind:
        return out
    gate = None
    if "ffn_gate_inp_shexp.weight" in kind and b.traits.shared_gate_first:
        raw = b.times(layer, "ffn_gate_inp_shexp", 1, value, b.matrix_device(layer, "gate"))
        gate = g.like("div", g.like("unary", raw), raw)
    shared = feed_forward(b, value, kind, layer, "_shexp")
    if "ffn_gate_inp_shexp.weight" in kind:
        if gate is None:
            gate = g.like("unary", b.times(layer, "ffn_gate_inp_shexp", 1, value, b.matrix_device(layer, "gate")))
        shared = g.like("mul", shared, gate)
    return g.like("add", out, shared)
