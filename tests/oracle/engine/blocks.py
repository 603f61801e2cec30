# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The tensors of a block, by architecture: models with attention in every block."""

from __future__ import annotations

from tests.oracle.engine.parts import (
    attention,
    expert_biases,
    experts,
    feed_forward,
    head,
    is_head,
    latent_attention,
    norms,
    of_architectures,
    of_layer,
)


@of_architectures(
    "llama",
    "mistral3",
    "qwen2",
    "granite",
    "granitemoe",
    "smollm3",
    "deci",
    "gemma",
    "internlm2",
    "exaone",
    "ernie4_5",
    "qwen2vl",
)
def _llama(t, m, i):
    kv, heads = of_layer(m["KV"], i), of_layer(m["H"], i)
    if heads:
        norms(t, m, i, "attn_norm")
    if kv:
        attention(t, m, i)
    norms(t, m, i, "ffn_norm")
    experts(t, m, i) if m.get("X") else feed_forward(t, m, i)


@of_architectures("qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "hunyuan-dense")
def _qwen3(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, norms="head")
    experts(t, m, i) if m.get("X") else feed_forward(t, m, i)


@of_architectures("qwen2moe")
def _qwen2moe(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    experts(t, m, i)
    t.plain("ffn_gate_inp_shexp.weight", m["E"], layer=i)
    feed_forward(t, m, i, m["SF"], suffix="_shexp")


@of_architectures("hunyuan-moe")
def _hunyuan_moe(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, norms="head")
    experts(t, m, i)
    feed_forward(t, m, i, m["SF"], suffix="_shexp")


@of_architectures("llama4")
def _llama4(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    if (i + 1) % m["step"] == 0:
        experts(t, m, i)
        feed_forward(t, m, i, m["SF"], suffix="_shexp")
    else:
        feed_forward(t, m, i)


@of_architectures("gemma2", "gemma3")
def _gemma2(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    attention(t, m, i, norms="head" if m["arch"] == "gemma3" else None)
    feed_forward(t, m, i)


@of_architectures("gpt-oss")
def _gpt_oss(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm")
    attention(t, dict(m, qkv_bias=True), i)
    t.plain("attn_output.bias", m["E"], layer=i)
    t.plain("attn_sinks.weight", m["H"], layer=i)
    experts(t, m, i, kind="MXFP4")
    expert_biases(t, m, i)


@of_architectures("phi3")
def _phi3(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, fused=True)
    feed_forward(t, m, i, gate=False, double_up=True)


@of_architectures("cohere2", "command-r")
def _cohere2(t, m, i):
    norms(t, m, i, "attn_norm")
    attention(t, m, i)
    if m.get("wide_head_norms"):
        t.plain("attn_q_norm.weight", m["D"], m["H"], layer=i)
        t.plain("attn_k_norm.weight", m["D"], m["KV"], layer=i)
    feed_forward(t, m, i)


@of_architectures("minicpm3")
def _minicpm3(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    latent_attention(t, m, i)
    feed_forward(t, m, i)


@of_architectures("deepseek2")
def _deepseek2(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    latent_attention(t, m, i)
    if i < m["lead"]:
        feed_forward(t, m, i)
    else:
        experts(t, m, i, probabilities_bias=bool(m.get("q_rank")))
        feed_forward(t, m, i, m["XF"] * m["shared"], suffix="_shexp")
    if is_head(m, i):
        head(t, m, i, own_vocabulary=True)


@of_architectures("glm4")
def _glm4(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    attention(t, m, i)
    feed_forward(t, m, i, gate=False, double_up=True)


@of_architectures("glm4moe")
def _glm4moe(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm")
    attention(t, m, i)
    if i < m["lead"]:
        feed_forward(t, m, i)
    else:
        experts(t, m, i, probabilities_bias=True)
        feed_forward(t, m, i, m["SF"], suffix="_shexp")
    if is_head(m, i):
        head(t, m, i, own_vocabulary=True)


@of_architectures("olmo2")
def _olmo2(t, m, i):
    norms(t, m, i, "post_attention_norm", "post_ffw_norm")
    attention(t, m, i, norms="wide")
    feed_forward(t, m, i)


@of_architectures("starcoder2")
def _starcoder2(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    feed_forward(t, m, i, gate=False)
    for name, width in (
        ("attn_norm", m["E"]),
        ("ffn_norm", m["E"]),
        ("attn_output", m["E"]),
        ("ffn_down", m["E"]),
        ("ffn_up", m["F"]),
    ):
        t.plain(name + ".bias", width, layer=i)


@of_architectures("exaone4")
def _exaone4(t, m, i):
    norms(t, m, i, "post_attention_norm", "post_ffw_norm")
    attention(t, m, i, norms="head")
    feed_forward(t, m, i)


@of_architectures("seed_oss")
def _seed_oss(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm")
    attention(t, m, i)
    feed_forward(t, m, i)


@of_architectures("olmoe")
def _olmoe(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, norms="wide")
    experts(t, m, i)


@of_architectures("minimax-m2")
def _minimax_m2(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, norms="wide")
    experts(t, m, i, probabilities_bias=True)


@of_architectures("phimoe")
def _phimoe(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    experts(t, m, i)
    for name in ("attn_norm", "ffn_norm", "attn_output"):
        t.plain(name + ".bias", m["E"], layer=i)


@of_architectures("arcee")
def _arcee(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    feed_forward(t, m, i, gate=False)


@of_architectures("stablelm")
def _stablelm(t, m, i):
    norms(t, m, i, "attn_norm")
    t.plain("attn_norm.bias", m["E"], layer=i)
    attention(t, m, i)
    if m.get("wide_head_norms"):
        t.plain("attn_q_norm.weight", m["D"], m["H"], layer=i)
        t.plain("attn_k_norm.weight", m["D"], m["KV"], layer=i)
    else:
        norms(t, m, i, "ffn_norm")
        t.plain("ffn_norm.bias", m["E"], layer=i)
    feed_forward(t, m, i)


@of_architectures("phi2")
def _phi2(t, m, i):
    norms(t, m, i, "attn_norm")
    attention(t, m, i)
    feed_forward(t, m, i, gate=False)
    for name, width in (("attn_norm", m["E"]), ("attn_output", m["E"]), ("ffn_down", m["E"]), ("ffn_up", m["F"])):
        t.plain(name + ".bias", width, layer=i)


@of_architectures("ernie4_5-moe", "dots1", "deepseek")
def _ernie4_5_moe(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, norms="head" if m["arch"] == "dots1" else None)
    if i < m["lead"]:
        feed_forward(t, m, i)
    else:
        experts(t, m, i, probabilities_bias=m["arch"] != "deepseek")
        feed_forward(t, m, i, m["SF"], suffix="_shexp")


@of_architectures("nemotron")
def _nemotron(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    feed_forward(t, m, i, gate=False)
    t.plain("attn_norm.bias", m["E"], layer=i)
    t.plain("ffn_norm.bias", m["E"], layer=i)


@of_architectures("gemma3n", "gemma4")
def _gemma_small(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    attention(t, m, i, norms="head")
    feed_forward(t, m, i)
    if m.get("X"):  # gemma4: experts beside the dense part
        experts(t, m, i)
        t.plain("ffn_gate_inp.scale", m["E"], layer=i)
        norms(t, m, i, "pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2")
    if m["arch"] == "gemma3n":
        a = m["altup"]
        t.plain("altup_correct_coef.weight", a, a, layer=i)
        t.plain("altup_correct_scale.weight", m["E"], layer=i)
        t.plain("altup_predict_coef.weight", a, a * a, layer=i)
        t.plain("altup_router.weight", m["E"], a, layer=i)
        norms(t, m, i, "altup_router_norm", "laurel_post_norm")
        t.matrix("laurel_l", m["E"], m["laurel"], layer=i)
        t.matrix("laurel_r", m["laurel"], m["E"], layer=i)
    else:
        t.plain("layer_output_scale.weight", 1, layer=i)
    if m["per_layer"]:
        t.matrix("inp_gate", m["E"], m["per_layer"], layer=i)
        t.matrix("proj", m["per_layer"], m["E"], layer=i)
        norms(t, m, i, "post_norm")
