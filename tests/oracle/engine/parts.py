# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The tensors of the parts of a block: attention, feed-forward, experts, recurrent states.

Tensor types follow llama.cpp's mixes.
"""

from __future__ import annotations

from tests.rig.models.catalog import more_bits

BLOCKS = {}  # architecture -> function (tensors, dimensions, number of the block)


def of_architectures(*names):
    """Decorator: the function makes the tensors of a block of these architectures."""

    def register(function):
        BLOCKS.update((name, function) for name in names)
        return function

    return register


def _quant(m, role, layer, shape):
    """Type of a weight matrix: the mix's, or a wider one where the row is no whole number of blocks."""
    name = m.get("quant", "Q4_K_M")
    if name == "Q4_K_M":
        more = role == "output" or role in ("attn_v", "ffn_down", "ffn_down_exps") and more_bits(layer, m["L"])
        name = "Q6_K" if more else "Q4_K"
        if shape[0] % 256:
            name = "Q8_0"
    return "F16" if name == "Q8_0" and shape[0] % 32 else name


class Tensors:
    """Collects (name, type, shape)."""

    def __init__(self, m):
        self.m = m
        self.list = []

    def matrix(self, name, *shape, layer=None, kind=None):
        prefix = "" if layer is None else "blk.%d." % layer
        self.list.append((prefix + name + ".weight", kind or _quant(self.m, name, layer or 0, shape), shape))

    def plain(self, name, *shape, layer=None):
        """A norm, bias or other tensor that is kept in 32 bits; `name` with its suffix."""
        self.list.append((("" if layer is None else "blk.%d." % layer) + name, "F32", shape))


def of_layer(value, layer):
    return value[layer] if isinstance(value, list) else value


# --- parts of a block ------------------------------------------------------------------------------------------------


def attention(t, m, i, fused=False, norms=None, gate=1):
    """q, k, v and output; `norms`: shapes of q and k norms; `gate`: q has that many times its width."""
    heads, kv, size = of_layer(m["H"], i), of_layer(m["KV"], i), m["D"]
    if m.get("D_window") and i % 6 != 5:
        size = m["D_window"]
    q, k = heads * size * gate, kv * size
    owns = i < m["L"] - m.get("shared_kv", 0)
    if fused:
        t.matrix("attn_qkv", m["E"], q + 2 * k, layer=i)
    else:
        t.matrix("attn_q", m["E"], q, layer=i)
        if owns:
            t.matrix("attn_k", m["E"], k, layer=i)
            if not (m.get("k_is_v") and i % 6 == 5):
                t.matrix("attn_v", m["E"], k, layer=i)
        if m.get("qkv_bias"):
            for part, width in (("q", q), ("k", k), ("v", k)):
                t.plain("attn_%s.bias" % part, width, layer=i)
    t.matrix("attn_output", heads * size, m["E"], layer=i)
    if norms:
        wide = norms == "wide"
        t.plain("attn_q_norm.weight", *((q,) if wide else (size,)), layer=i)
        if owns:
            t.plain("attn_k_norm.weight", *((k,) if wide else (size,)), layer=i)


def latent_attention(t, m, i):
    rank, heads = m["kv_rank"], m["H"]
    key = m["nope"] + m["rope"]
    if m.get("q_rank"):
        t.plain("attn_q_a_norm.weight", m["q_rank"], layer=i)
        t.matrix("attn_q_a", m["E"], m["q_rank"], layer=i)
        t.matrix("attn_q_b", m["q_rank"], heads * key, layer=i)
    else:
        t.matrix("attn_q", m["E"], heads * key, layer=i)
    t.plain("attn_kv_a_norm.weight", rank, layer=i)
    t.matrix("attn_kv_a_mqa", m["E"], rank + m["rope"], layer=i)
    if m.get("absorbed"):
        t.matrix("attn_k_b", m["nope"], rank, heads, layer=i)
        t.matrix("attn_v_b", rank, m["value"], heads, layer=i)
    else:
        t.matrix("attn_kv_b", rank, heads * (m["nope"] + m["value"]), layer=i)
    t.matrix("attn_output", heads * m["value"], m["E"], layer=i)


def feed_forward(t, m, i, width=None, gate=True, suffix="", double_up=False):
    width = width or of_layer(m["F"], i)
    if gate:
        t.matrix("ffn_gate" + suffix, m["E"], width, layer=i)
    t.matrix("ffn_up" + suffix, m["E"], 2 * width if double_up else width, layer=i)
    t.matrix("ffn_down" + suffix, width, m["E"], layer=i)


def experts(t, m, i, width=None, gate=True, kind=None, probabilities_bias=False):
    width, count = width or m["XF"], m["X"]
    t.matrix("ffn_gate_inp", m["E"], count, layer=i, kind="F32")
    if gate:
        t.matrix("ffn_gate_exps", m["E"], width, count, layer=i, kind=kind)
    t.matrix("ffn_up_exps", m["E"], width, count, layer=i, kind=kind)
    t.matrix("ffn_down_exps", width, m["E"], count, layer=i, kind=kind)
    if probabilities_bias:
        t.plain("exp_probs_b.bias", count, layer=i)


def expert_biases(t, m, i):
    width, count = m["XF"], m["X"]
    t.plain("ffn_gate_inp.bias", count, layer=i)
    for part, length in (("gate", width), ("up", width), ("down", m["E"])):
        t.plain("ffn_%s_exps.bias" % part, length, count, layer=i)


def state_space_1(t, m, i, norms=False):
    s, inner = m["ssm"], m["ssm"]["inner"]
    t.matrix("ssm_in", m["E"], 2 * inner, layer=i)
    t.plain("ssm_conv1d.weight", s["conv"], inner, layer=i)
    t.plain("ssm_conv1d.bias", inner, layer=i)
    t.matrix("ssm_x", inner, s["rank"] + 2 * s["state"], layer=i)
    t.matrix("ssm_dt", s["rank"], inner, layer=i)
    t.plain("ssm_dt.bias", inner, layer=i)
    t.plain("ssm_a", s["state"], inner, layer=i)
    t.plain("ssm_d", inner, layer=i)
    t.matrix("ssm_out", inner, m["E"], layer=i)
    if norms:
        t.plain("ssm_dt_norm.weight", s["rank"], layer=i)
        t.plain("ssm_b_norm.weight", s["state"], layer=i)
        t.plain("ssm_c_norm.weight", s["state"], layer=i)


def state_space_2(t, m, i):
    s, inner = m["ssm"], m["ssm"]["inner"]
    conv = inner + 2 * s["groups"] * s["state"]
    t.matrix("ssm_in", m["E"], inner + conv + s["rank"], layer=i)
    t.plain("ssm_conv1d.weight", s["conv"], conv, layer=i)
    t.plain("ssm_conv1d.bias", conv, layer=i)
    t.plain("ssm_dt.bias", s["rank"], layer=i)
    t.plain("ssm_a", 1, s["rank"], layer=i)
    t.plain("ssm_d", 1, s["rank"], layer=i)
    t.plain("ssm_norm.weight", inner // s["groups"], s["groups"], layer=i)
    t.matrix("ssm_out", inner, m["E"], layer=i)


def delta_net(t, m, i):
    s = m["ssm"]
    key, value = s["state"] * s["groups"], s["state"] * s["rank"]
    t.matrix("attn_qkv", m["E"], 2 * key + value, layer=i)
    t.matrix("attn_gate", m["E"], value, layer=i)
    t.plain("ssm_conv1d.weight", s["conv"], 2 * key + value, layer=i)
    t.plain("ssm_dt.bias", s["rank"], layer=i)
    t.plain("ssm_a", s["rank"], layer=i)
    if m["arch"] == "qwen3next":
        t.matrix("ssm_ba", m["E"], 2 * s["rank"], layer=i)
    else:
        t.matrix("ssm_beta", m["E"], s["rank"], layer=i)
        t.matrix("ssm_alpha", m["E"], s["rank"], layer=i)
    t.plain("ssm_norm.weight", s["state"], layer=i)
    t.matrix("ssm_out", value, m["E"], layer=i)


def short_convolution(t, m, i):
    t.plain("shortconv.conv.weight", m["conv_cache"], m["E"], layer=i)
    t.matrix("shortconv.in_proj", m["E"], 3 * m["E"], layer=i)
    t.matrix("shortconv.out_proj", m["E"], m["E"], layer=i)


def norms(t, m, i, *names):
    for name in names:
        t.plain(name + ".weight", m["E"], layer=i)


# --- blocks that predict further tokens ------------------------------------------------------------------------------


def is_head(m, i):
    """Whether block `i` predicts a further token (a multi-token prediction head)."""
    return i >= m["L"] - m.get("nextn", 0)


def head(t, m, i, own_vocabulary=False):
    """What such a block has beside the parts of any block; `own_vocabulary`: embeddings and output of its own."""
    t.matrix("nextn.eh_proj", 2 * m["E"], m["E"], layer=i)
    norms(t, m, i, "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm")
    if own_vocabulary:
        t.matrix("nextn.embed_tokens", m["E"], m["V"], layer=i)
        t.matrix("nextn.shared_head_head", m["E"], m["V"], layer=i)
