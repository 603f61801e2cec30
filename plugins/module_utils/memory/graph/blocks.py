# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parts of a block as values of a graph: norms, attention, feed-forward, experts. Pure.

Which part a block has is read from its tensors (`kind`: {name without "blk.N.": shape}), not from the architecture's name. The order of the
operations is that of llama.cpp's builders (src/llama-graph.cpp build_qkv, build_attn, build_attn_mha, build_ffn, build_moe_ffn).
"""

from __future__ import annotations

from .. import kv_cache
from . import encoder
from .tensors import F32

MAX_USED_EXPERTS = 512  # the models use up to 22 of them


def norm(b, value, weights, layer=None, plain=False):
    """Root-mean-square norm (or, `plain`, layer norm, which needs memory of its own) times its weights.

    The norm itself has no weights, so the first of a device is computed on the device before it (in a large batch; llama.cpp binds it only in small
    ones, llama-context.cpp `graph_get_cb`): both the normed and the plain value then cross.
    """
    g = b.graph
    normed = g.like("norm" if plain else "rms_norm", value)
    if not weights:
        return normed
    device = b.device(layer) if layer is not None else b.output_device
    return g.like("mul", normed, bound=device)


def with_bias(b, value, kind, name, device):
    """Plus a bias, where the block has one of that name."""
    return b.graph.like("add", value, bound=device) if name in kind else value


# --- attention -------------------------------------------------------------------------------------------------------


def rotate(b, value):
    """Rotary positions."""
    return b.graph.like("rope", value, b.positions)


def hadamard(b, value, rotation):
    """Rotation of a quantized cache's rows: a product of rows of the matrix's width."""
    g = b.graph
    width = rotation.shape[0]
    count = value.shape[0] * value.shape[1] * value.shape[2] * value.shape[3] // width
    flat = g.view(value, (width, count))
    return g.view(g.matmul_values(rotation, flat), value.shape)


def queries_keys_values(b, value, kind, layer, heads, kv_heads, size, value_size):
    """q, k, v as [size, heads, tokens]; k or v None where the block has none of its own."""
    g, device = b.graph, b.device(layer)
    if "attn_qkv.weight" in kind:
        fused = b.times(layer, "attn_qkv", kind["attn_qkv.weight"][1], value)
        fused = with_bias(b, fused, kind, "attn_qkv.bias", device)
        row = fused.strides[1]

        def part(width, count):
            """One of q, k and v inside the rows of all three."""
            return g.view(fused, (width, count, b.tokens), (F32, F32 * width, row, row * b.tokens))

        return part(size, heads), part(size, kv_heads), part(value_size, kv_heads)
    wide = kind.get("attn_q_norm.weight", (0,))[0] > size  # norms over all heads at once: reshaped afterwards

    def project(name, width, count):
        """One of q, k and v from a matrix of its own."""
        if name + ".weight" not in kind:
            return None
        made = with_bias(b, b.times(layer, name, width * count, value), kind, name + ".bias", device)
        return made if wide else g.view(made, (width, count, b.tokens))

    return project("attn_q", size, heads), project("attn_k", size, kv_heads), project("attn_v", value_size, kv_heads)


def attention(b, value, kind, layer):
    """Self-attention of a block, from its normed input to its output projection."""
    g, device = b.graph, b.device(layer)
    heads, kv_heads = b.heads[layer], b.kv_heads[layer]
    size, value_size = b.head_sizes(layer)
    q, k, v = queries_keys_values(b, value, kind, layer, heads, kv_heads, size, value_size)
    if kv_cache.cache_owner(b.model, layer) != layer:
        k = v = None  # an earlier block's cache serves this one, even where the file has matrices for it
    if k is not None and v is None:
        v = k  # gemma4's full layers: the keys are the values
    normed_values = b.traits["values_normed"]
    norm_last = b.traits["norm_after_rope"]
    if not norm_last:
        q = head_norm(b, q, kind, "attn_q_norm", layer)
        k = head_norm(b, k, kind, "attn_k_norm", layer) if k is not None else None
        if q.shape[1] == b.tokens and q.shape[2] == 1 and heads > 1:
            q, k, v = (
                g.view(part, (width, count, b.tokens))
                for part, width, count in ((q, size, heads), (k, size, kv_heads), (v, value_size, kv_heads))
            )
    if normed_values and v is not None:
        v = g.like("rms_norm", v)
    if b.has_positions(layer):
        q = rotate(b, q)
        k = rotate(b, k) if k is not None else None
    elif b.traits["scaled_queries"]:
        q = g.like("mul", q, b.scale)  # llama4: by the position's temperature instead
    if norm_last:
        k = head_norm(b, k, kind, "attn_k_norm", layer)
        q = head_norm(b, q, kind, "attn_q_norm", layer)
    elif b.traits["norm_without_weights"] and b.has_positions(layer):
        q, k = g.like("rms_norm", q), g.like("rms_norm", k)
    if b.traits["queries_scaled"]:
        q = g.like("scale", q)
    mix = encoder.attend if b.traits["encoder"] else attend
    mixed = mix(b, layer, q, k, v, size, value_size, kv_heads)
    out = b.times(layer, "attn_output", b.width, mixed)
    return with_bias(b, out, kind, "attn_output.bias", device)


def head_norm(b, value, kind, name, layer):
    """Norm of q or k, where the block has weights for it."""
    if name + ".weight" not in kind:
        return value
    return norm(b, value, True, layer, b.traits["layer_norm"])


def gated_attention(b, value, kind, layer):
    """Attention whose q carries a gate beside every head (qwen3next, qwen35): q is twice as wide, the gate scales the result."""
    g = b.graph
    heads, kv_heads = b.heads[layer], b.kv_heads[layer]
    size, value_size = b.head_sizes(layer)
    both = b.times(layer, "attn_q", 2 * size * heads, value)
    k, v = (b.times(layer, name, width * kv_heads, value) for name, width in (("attn_k", size), ("attn_v", value_size)))
    both = g.view(both, (2 * size, heads, b.tokens))
    q = g.view(both, (size, heads, b.tokens), both.strides)
    gate = g.view(both, (size, heads, b.tokens), both.strides)
    k, v = (g.view(part, (width, kv_heads, b.tokens)) for part, width in ((k, size), (v, value_size)))
    q = rotate(b, norm(b, q, True, layer))
    k = rotate(b, norm(b, k, True, layer))
    mixed = attend(b, layer, q, k, v, size, value_size, kv_heads)
    gate = g.like("unary", g.cont(gate, (size * heads, b.tokens)))
    return b.times(layer, "attn_output", b.width, g.like("mul", mixed, gate))


def attend(b, layer, q, k, v, size, value_size, kv_heads, latent=None):
    """Store k and v, mix: [value_size * heads, tokens]. `latent`: value width after the shared row is unpacked (MLA), where v is part of k."""
    g, device = b.graph, b.device(layer)
    memory = b.cache(layer)
    windowed = b.windowed[layer]
    sinks = "attn_sinks.weight" in b.kinds[layer]
    key_rotation, value_rotation = (
        b.rotation(which, width) if width else None for which, width in zip("kv", memory["rotation"])
    )
    if key_rotation is not None:
        q = hadamard(b, q, key_rotation)
        k = hadamard(b, k, key_rotation) if k is not None else None
    if value_rotation is not None and v is not None:
        v = hadamard(b, v, value_rotation)
    order = (q, k, v) if b.traits["windowed"] else (q, v, k)
    for part in order:
        if part is not None:
            g.expand(part)
    cells, streams = memory["cells"], memory["streams"]
    per_stream = b.tokens // streams
    mask = b.mask(windowed)
    if k is not None:
        rows = g.view(k, (k.shape[0] * k.shape[1], b.tokens))
        g.expand(g.store(memory["k"], rows, b.indices("k", windowed)))
    if v is not None and latent is None:
        if b.flash:
            rows = g.view(v, (v.shape[0] * v.shape[1], b.tokens))
        else:
            flat = (
                v if v.strides[2] == F32 * v.shape[0] * v.shape[1] else g.cont(v, (v.shape[0] * v.shape[1], b.tokens))
            )
            rows = g.view(flat, (1, v.shape[0] * v.shape[1] * b.tokens))
        g.expand(g.store(memory["v"], rows, b.indices("v", windowed)))
    keys = g.view(memory["k"], (size, kv_heads, cells, streams))
    values = keys if latent is not None else g.view(memory["v"], (value_size, kv_heads, cells, streams))
    heads = q.shape[1]
    q = g.permute(
        g.view(q, (size, heads, per_stream, streams), (F32, q.strides[1], q.strides[2], q.strides[2] * per_stream)),
        (0, 2, 1, 3),
    )
    keys, values = g.permute(keys, (0, 2, 1, 3)), g.permute(values, (0, 2, 1, 3))
    if b.flash:
        sources = (q, keys, values, mask)
        if sinks:
            sources = g.with_weight(
                sources, (heads,), device, None
            )  # they do not bind the operation, they are too small
        mixed = g.new("flash_attn", sources, (value_size, heads, per_stream, streams))
        if latent:
            mixed = b.times(layer, "attn_v_b", latent, g.permute(mixed, (0, 2, 1, 3)))
            mixed = g.cont(g.permute(mixed, (0, 2, 1, 3)))
            value_size = latent
        mixed = g.view(mixed, (value_size * heads, b.tokens))
    else:
        scores = g.new("mul_mat", (keys, q), (cells, per_stream, heads, streams))
        if b.traits["softcap"]:
            scores = g.like("scale", g.like("unary", g.like("scale", scores)))
        scores = g.like("soft_max", scores, mask, bound=device if sinks else None)
        if latent is not None:
            # The row is no transposed cache here: llama.cpp turns a copy of it.
            values = g.new("cont", (g.transpose(values),), (cells, value_size, kv_heads, streams), memory["k"].element)
        mixed = g.new("mul_mat", (values, scores), (value_size, per_stream, heads, streams))
        if latent:
            mixed = b.times(layer, "attn_v_b", latent, mixed)
            value_size = latent
        mixed = g.cont(g.permute(mixed, (0, 2, 1, 3)), (value_size * heads, b.tokens))
    g.expand(mixed)
    if value_rotation is not None:
        mixed = hadamard(b, mixed, value_rotation)
    return mixed


def latent_attention(b, value, kind, layer):
    """Multi-head latent attention (deepseek2, minicpm3): with attn_k_b the cache holds one row for all heads, else k and v are unpacked first."""
    g, device = b.graph, b.device(layer)
    heads, rank, rope = b.heads[layer], b.hyper("attention.kv_lora_rank"), b.hyper("rope.dimension_count")
    absorbed = "attn_k_b.weight" in kind
    key = b.hyper("attention.key_length_mla") if absorbed else b.head_sizes(layer)[0]
    unpacked = b.hyper("attention.value_length_mla") if absorbed else b.head_sizes(layer)[1]
    nope = key - rope
    if "attn_q_a.weight" in kind:
        q = norm(b, b.times(layer, "attn_q_a", kind["attn_q_a.weight"][1], value), True, layer)
        q = b.times(layer, "attn_q_b", heads * key, q)
    else:
        q = b.times(layer, "attn_q", heads * key, value)
    q = g.view(q, (key, heads, b.tokens))
    both = b.times(layer, "attn_kv_a_mqa", rank + rope, value)
    row = both.strides[1]
    compressed = g.view(both, (rank, b.tokens), (F32, row, row * b.tokens, row * b.tokens))
    k_rope = rotate(b, g.view(both, (rope, 1, b.tokens), (F32, row, row, row * b.tokens)))
    compressed = norm(b, compressed, True, layer)
    if absorbed:
        q_nope = g.view(q, (nope, heads, b.tokens), q.strides)
        q_rope = rotate(b, g.view(q, (rope, heads, b.tokens), q.strides))
        q_nope = g.new(
            "mul_mat",
            (g.permute(q_nope, (0, 2, 1, 3)),),
            (rank, b.tokens, heads),
            bound=device,
            weight=b.bytes(layer, "attn_k_b.weight"),
        )
        q = g.new("concat", (g.permute(q_nope, (0, 2, 1, 3)), q_rope), (rank + rope, heads, b.tokens))
        compressed = g.view(compressed, (rank, 1, b.tokens))
        k = g.new("concat", (compressed, k_rope), (rank + rope, 1, b.tokens))
        mixed = attend(b, layer, q, k, compressed, rank + rope, rank, 1, latent=unpacked)
    else:
        both = b.times(layer, "attn_kv_b", heads * (nope + unpacked), compressed)
        step = F32 * (nope + unpacked)
        strides = (F32, step, step * heads, step * heads * b.tokens)
        k_nope = g.view(both, (nope, heads, b.tokens), strides)
        v = g.cont(g.view(both, (unpacked, heads, b.tokens), strides))
        q = rotate(b, q)
        k = g.new("concat", (k_nope, g.new("repeat", (k_rope,), (rope, heads, b.tokens))), (key, heads, b.tokens))
        mixed = attend(b, layer, q, k, v, key, unpacked, heads)
    return b.times(layer, "attn_output", b.width, mixed)


# --- feed-forward ----------------------------------------------------------------------------------------------------


def feed_forward(b, value, kind, layer, suffix="", inputs=None):
    """Up, gate, down. A gate in the same matrix as up (twice as wide) counts as one."""
    g, device = b.graph, b.device(layer)
    beside = suffix or "ffn_down_exps.weight" in kind  # a feed-forward part beside the experts, which alone are moved
    up_device, gate_device, down_device = (
        device if beside else b.matrix_device(layer, part) for part in ("up", "gate", "down")
    )
    up_width, inner = kind["ffn_up%s.weight" % suffix][1], kind["ffn_down%s.weight" % suffix][0]
    up = with_bias(
        b, b.times(layer, "ffn_up" + suffix, up_width, value, up_device), kind, "ffn_up%s.bias" % suffix, device
    )
    if "ffn_gate%s.weight" % suffix in kind:
        gate = with_bias(
            b, b.times(layer, "ffn_gate" + suffix, inner, value, gate_device), kind, "ffn_gate%s.bias" % suffix, device
        )
        made = g.like("glu", gate, up)
    elif up_width == 2 * inner:
        made = g.new("glu", (up,), (inner, b.tokens))
    else:
        made = g.like("unary", up)
        if b.traits["squared"]:
            made = g.like("sqr", made)
    out = b.times(layer, "ffn_down" + suffix, b.width if inputs is None else inputs, made, down_device)
    return with_bias(b, out, kind, "ffn_down%s.bias" % suffix, device)


def experts(b, value, kind, layer, logits=None):
    """The experts that a token uses, weighed and summed."""
    g, device = b.graph, b.device(layer)
    count, used = kind["ffn_down_exps.weight"][2], b.used_experts
    if used > MAX_USED_EXPERTS:
        raise ValueError("%d experts a token" % used)  # a damaged header, which must not keep the plan busy
    width = kind["ffn_down_exps.weight"][1]
    inner = kind["ffn_down_exps.weight"][0]
    if logits is None:
        logits = with_bias(b, b.times(layer, "ffn_gate_inp", count, value), kind, "ffn_gate_inp.bias", device)
    gating = b.traits["gating"]
    chances = logits if gating == "late" else g.like("unary" if gating == "sigmoid" else "soft_max", logits)
    choice = g.like("add", chances, bound=device) if "exp_probs_b.bias" in kind else chances
    if b.traits["weighs_before"]:
        choice = logits
    groups = b.hyper("expert_group_count") or 1
    if groups > 1:
        choice = chosen_groups(b, choice, count, groups)
    chosen = g.view(
        g.new("argsort", (choice,), choice.shape, 4),
        (used, b.tokens),
        (4, 4 * count, 4 * count * b.tokens, 4 * count * b.tokens),
    )
    weights = g.new("get_rows", (g.view(chances, (1, count, b.tokens)), chosen), (1, used, b.tokens))
    if gating == "late":
        weights = g.view(g.like("soft_max", g.view(weights, (used, b.tokens))), (1, used, b.tokens))
    if b.traits["normed_experts"]:
        flat = g.view(weights, (used, b.tokens))
        total = g.like("clamp", g.new("sum_rows", (flat,), (1, b.tokens)))
        weights = g.view(g.like("div", flat, total), (1, used, b.tokens))
    if (b.hyper("expert_weights_scale") or 0) not in (0, 1):
        weights = g.like("scale", weights)
    g.expand(weights)
    rows = g.view(value, (width, 1, b.tokens))
    if b.traits["weighs_before"]:
        rows = g.like("mul", g.new("repeat", (rows,), (width, used, b.tokens)), weights)
    if "ffn_gate_up_exps.weight" in kind:
        both = b.times_chosen(layer, "gate_up", 2 * inner, rows, chosen)
        gate, up = (g.view(both, (inner, used, b.tokens), both.strides) for unused in range(2))
        made = g.new("glu", (gate, up), (inner, used, b.tokens))
    else:
        up = b.times_chosen(layer, "up", inner, rows, chosen)
        if "ffn_gate_exps.weight" in kind:
            gate = b.times_chosen(layer, "gate", inner, rows, chosen)
            made = g.like("glu", gate, up)
        else:
            made = g.like("sqr", g.like("unary", up)) if b.traits["squared"] else g.like("unary", up)
    out = b.times_chosen(layer, "down", width, made, chosen)
    if not b.traits["weighs_before"]:
        out = g.like("mul", out, weights)
    g.expand(out)
    views = [
        g.expand(
            g.view(out, (width, b.tokens), (F32, out.strides[2], out.strides[2] * b.tokens, out.strides[2] * b.tokens))
        )
        for unused in range(used)
    ]
    total = views[0]
    for one in views[1:]:
        total = g.expand(g.new("add", (total, one), (width, b.tokens)))
    return g.cont(total) if used == 1 else total


def chosen_groups(b, choice, count, groups):
    """Only the best groups of experts keep their chances (deepseek-v3 with expert_group_count)."""
    g = b.graph
    size, kept = count // groups, b.hyper("expert_group_used_count") or 1
    grouped = g.view(choice, (size, groups, b.tokens))
    best = g.view(
        g.new("argsort", (grouped,), grouped.shape, 4),
        (2, groups, b.tokens),
        (4, 4 * size, 4 * count, 4 * count * b.tokens),
    )
    scores = g.new("get_rows", (g.view(grouped, (1, size, groups, b.tokens)), best), (1, 2, groups, b.tokens))
    scores = g.view(
        g.new("sum_rows", (g.view(scores, (2, groups, b.tokens)),), (1, groups, b.tokens)), (groups, b.tokens)
    )
    which = g.view(
        g.new("argsort", (scores,), scores.shape, 4),
        (kept, b.tokens),
        (4, 4 * groups, 4 * groups * b.tokens, 4 * groups * b.tokens),
    )
    taken = g.new("get_rows", (grouped, which), (size, kept, b.tokens))
    empty = g.like("fill", grouped)
    return g.view(g.store(empty, taken, which), (count, b.tokens))


def mixture(b, value, kind, layer):
    """Experts with the one that every token passes beside them, where the block has it."""
    g = b.graph
    if b.traits["shared_first"] and "ffn_up_shexp.weight" in kind:
        shared = feed_forward(b, value, kind, layer, "_shexp")
        return g.new("add", (experts(b, value, kind, layer), shared), (b.width, b.tokens))
    out = experts(b, value, kind, layer)
    if "ffn_up_shexp.weight" not in kind:
        return out
    gate = None
    if "ffn_gate_inp_shexp.weight" in kind and b.traits["shared_gate_first"]:
        raw = b.times(layer, "ffn_gate_inp_shexp", 1, value)
        gate = g.like("div", g.like("unary", raw), raw)
    shared = feed_forward(b, value, kind, layer, "_shexp")
    if "ffn_gate_inp_shexp.weight" in kind:
        if gate is None:
            gate = g.like("unary", b.times(layer, "ffn_gate_inp_shexp", 1, value))
        shared = g.like("mul", shared, gate)
    return g.like("add", out, shared)
