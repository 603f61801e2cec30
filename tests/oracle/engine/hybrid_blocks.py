# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The tensors of a block, by architecture: models with recurrent blocks."""

from __future__ import annotations

from tests.oracle.engine.parts import (
    attention,
    delta_net,
    experts,
    feed_forward,
    head,
    is_head,
    norms,
    of_architectures,
    short_convolution,
    state_space_1,
    state_space_2,
)


@of_architectures("mamba")
def _mamba(t, m, i):
    norms(t, m, i, "attn_norm")
    state_space_1(t, m, i)


@of_architectures("mamba2")
def _mamba2(t, m, i):
    norms(t, m, i, "attn_norm")
    state_space_2(t, m, i)


@of_architectures("jamba")
def _jamba(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i) if m["KV"][i] else state_space_1(t, m, i, norms=True)
    experts(t, m, i, width=m["F"]) if i % 2 else feed_forward(t, m, i)


@of_architectures("nemotron_h", "nemotron_h_moe")
def _nemotron_h(t, m, i):
    norms(t, m, i, "attn_norm")
    if m["KV"][i]:
        attention(t, m, i)
    elif not m["F"][i]:
        state_space_2(t, m, i)
    elif m.get("X"):
        experts(t, m, i, gate=False, probabilities_bias=True)
        feed_forward(t, m, i, m["SF"], gate=False, suffix="_shexp")
    else:
        feed_forward(t, m, i, gate=False)


@of_architectures("falcon-h1")
def _falcon_h1(t, m, i):
    norms(t, m, i, "attn_norm")
    t.plain("ffn_norm", m["E"], layer=i)  # its converter leaves out the suffix
    state_space_2(t, m, i)
    attention(t, m, i)
    feed_forward(t, m, i)


@of_architectures("granitehybrid")
def _granitehybrid(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i) if m["KV"][i] else state_space_2(t, m, i)
    if m.get("X"):
        experts(t, m, i)
        feed_forward(t, m, i, m["SF"], suffix="_shexp")
    else:
        feed_forward(t, m, i)


@of_architectures("lfm2", "lfm2moe")
def _lfm2(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, norms="head") if m["KV"][i] else short_convolution(t, m, i)
    if m.get("X") and i >= m["lead"]:
        experts(t, m, i, probabilities_bias=True)
    else:
        feed_forward(t, m, i)


@of_architectures("qwen3next", "qwen35", "qwen35moe")
def _qwen3next(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm")
    if (i + 1) % m["interval"] and not is_head(m, i):
        delta_net(t, m, i)
    else:
        attention_with_gate(t, m, i)
    if m.get("X"):
        experts(t, m, i)
        t.plain("ffn_gate_inp_shexp.weight", m["E"], layer=i)
        feed_forward(t, m, i, m["SF"], suffix="_shexp")
    else:
        feed_forward(t, m, i)
    if is_head(m, i):
        head(t, m, i)


def attention_with_gate(t, m, i):
    """Attention whose q carries a gate beside it: q twice as wide as what leaves."""
    size = m["D"]
    t.matrix("attn_q", m["E"], 2 * m["H"] * size, layer=i)
    t.matrix("attn_k", m["E"], m["KV"] * size, layer=i)
    t.matrix("attn_v", m["E"], m["KV"] * size, layer=i)
    t.matrix("attn_output", m["H"] * size, m["E"], layer=i)
    t.plain("attn_q_norm.weight", size, layer=i)
    t.plain("attn_k_norm.weight", size, layer=i)
