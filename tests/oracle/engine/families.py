# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Dimensions -> key-values and tensors of a GGUF file, as llama.cpp's loaders expect them (src/models, names of gguf-py constants).

Only what the loader checks is written: no vocabulary (tokenizer model "none"), no weights. Tensor types follow llama.cpp's mixes.
"""

from __future__ import annotations

from tests.oracle.engine.dimensions import of_model
from tests.rig.models.catalog import more_bits


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


def experts(t, m, i, width=None, gate=True, bias=False, kind=None, probabilities_bias=False):
    width, count = width or m["XF"], m["X"]
    t.matrix("ffn_gate_inp", m["E"], count, layer=i, kind="F32")
    if gate:
        t.matrix("ffn_gate_exps", m["E"], width, count, layer=i, kind=kind)
    t.matrix("ffn_up_exps", m["E"], width, count, layer=i, kind=kind)
    t.matrix("ffn_down_exps", width, m["E"], count, layer=i, kind=kind)
    if probabilities_bias:
        t.plain("exp_probs_b.bias", count, layer=i)
    if bias:
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


# --- blocks by architecture ------------------------------------------------------------------------------------------

def _block(t, m, i):
    arch = m["arch"]
    if arch in ("llama", "mistral3", "qwen2", "granite", "granitemoe", "smollm3", "deci", "gemma", "internlm2", "exaone", "ernie4_5", "qwen2vl"):
        kv, heads = of_layer(m["KV"], i), of_layer(m["H"], i)
        if heads:
            norms(t, m, i, "attn_norm")
        if kv:
            attention(t, m, i)
        norms(t, m, i, "ffn_norm")
        experts(t, m, i) if m.get("X") else feed_forward(t, m, i)
    elif arch in ("qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "hunyuan-dense"):
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, norms="head")
        experts(t, m, i) if m.get("X") else feed_forward(t, m, i)
    elif arch == "qwen2moe":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i)
        experts(t, m, i)
        t.plain("ffn_gate_inp_shexp.weight", m["E"], layer=i)
        feed_forward(t, m, i, m["SF"], suffix="_shexp")
    elif arch == "hunyuan-moe":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, norms="head")
        experts(t, m, i)
        feed_forward(t, m, i, m["SF"], suffix="_shexp")
    elif arch == "llama4":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i)
        if (i + 1) % m["step"] == 0:
            experts(t, m, i)
            feed_forward(t, m, i, m["SF"], suffix="_shexp")
        else:
            feed_forward(t, m, i)
    elif arch in ("gemma2", "gemma3"):
        norms(t, m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        attention(t, m, i, norms="head" if arch == "gemma3" else None)
        feed_forward(t, m, i)
    elif arch in ("gemma3n", "gemma4"):
        _gemma_small(t, m, i)
    elif arch == "gpt-oss":
        norms(t, m, i, "attn_norm", "post_attention_norm")
        attention(t, dict(m, qkv_bias=True), i)
        t.plain("attn_output.bias", m["E"], layer=i)
        t.plain("attn_sinks.weight", m["H"], layer=i)
        experts(t, m, i, bias=True, kind="MXFP4")
    elif arch == "phi3":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, fused=True)
        feed_forward(t, m, i, gate=False, double_up=True)
    elif arch in ("cohere2", "command-r"):
        norms(t, m, i, "attn_norm")
        attention(t, m, i)
        if m.get("wide_head_norms"):
            t.plain("attn_q_norm.weight", m["D"], m["H"], layer=i)
            t.plain("attn_k_norm.weight", m["D"], m["KV"], layer=i)
        feed_forward(t, m, i)
    elif arch == "minicpm3":
        norms(t, m, i, "attn_norm", "ffn_norm")
        latent_attention(t, m, i)
        feed_forward(t, m, i)
    elif arch == "deepseek2":
        norms(t, m, i, "attn_norm", "ffn_norm")
        latent_attention(t, m, i)
        if i < m["lead"]:
            feed_forward(t, m, i)
        else:
            experts(t, m, i, probabilities_bias=bool(m.get("q_rank")))
            feed_forward(t, m, i, m["XF"] * m["shared"], suffix="_shexp")
    elif arch == "glm4":
        norms(t, m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        attention(t, m, i)
        feed_forward(t, m, i, gate=False, double_up=True)
    elif arch == "glm4moe":
        norms(t, m, i, "attn_norm", "post_attention_norm")
        attention(t, m, i)
        if i < m["lead"]:
            feed_forward(t, m, i)
        else:
            experts(t, m, i, probabilities_bias=True)
            feed_forward(t, m, i, m["SF"], suffix="_shexp")
        if i >= m["L"] - m["nextn"]:
            t.matrix("nextn.eh_proj", 2 * m["E"], m["E"], layer=i)
            norms(t, m, i, "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm")
            t.matrix("nextn.embed_tokens", m["E"], m["V"], layer=i)
            t.matrix("nextn.shared_head_head", m["E"], m["V"], layer=i)
    elif arch == "mamba":
        norms(t, m, i, "attn_norm")
        state_space_1(t, m, i)
    elif arch == "mamba2":
        norms(t, m, i, "attn_norm")
        state_space_2(t, m, i)
    elif arch == "jamba":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i) if m["KV"][i] else state_space_1(t, m, i, norms=True)
        experts(t, m, i, width=m["F"]) if i % 2 else feed_forward(t, m, i)
    elif arch in ("nemotron_h", "nemotron_h_moe"):
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
    elif arch == "falcon-h1":
        norms(t, m, i, "attn_norm")
        t.plain("ffn_norm", m["E"], layer=i)  # its converter leaves out the suffix
        state_space_2(t, m, i)
        attention(t, m, i)
        feed_forward(t, m, i)
    elif arch == "granitehybrid":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i) if m["KV"][i] else state_space_2(t, m, i)
        if m.get("X"):
            experts(t, m, i)
            feed_forward(t, m, i, m["SF"], suffix="_shexp")
        else:
            feed_forward(t, m, i)
    elif arch in ("lfm2", "lfm2moe"):
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, norms="head") if m["KV"][i] else short_convolution(t, m, i)
        if m.get("X") and i >= m["lead"]:
            experts(t, m, i, probabilities_bias=True)
        else:
            feed_forward(t, m, i)
    elif arch in ("qwen3next", "qwen35", "qwen35moe"):
        norms(t, m, i, "attn_norm", "post_attention_norm")
        if (i + 1) % m["interval"]:
            delta_net(t, m, i)
        else:
            attention_with_gate(t, m, i)
        if m.get("X"):
            experts(t, m, i)
            t.plain("ffn_gate_inp_shexp.weight", m["E"], layer=i)
            feed_forward(t, m, i, m["SF"], suffix="_shexp")
        else:
            feed_forward(t, m, i)
    elif arch == "olmo2":
        norms(t, m, i, "post_attention_norm", "post_ffw_norm")
        attention(t, m, i, norms="wide")
        feed_forward(t, m, i)
    elif arch == "starcoder2":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i)
        feed_forward(t, m, i, gate=False)
        for name, width in (("attn_norm", m["E"]), ("ffn_norm", m["E"]), ("attn_output", m["E"]), ("ffn_down", m["E"]), ("ffn_up", m["F"])):
            t.plain(name + ".bias", width, layer=i)
    elif arch == "exaone4":
        norms(t, m, i, "post_attention_norm", "post_ffw_norm")
        attention(t, m, i, norms="head")
        feed_forward(t, m, i)
    elif arch == "seed_oss":
        norms(t, m, i, "attn_norm", "post_attention_norm")
        attention(t, m, i)
        feed_forward(t, m, i)
    elif arch == "olmoe":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, norms="wide")
        experts(t, m, i)
    elif arch == "minimax-m2":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, norms="wide")
        experts(t, m, i, probabilities_bias=True)
    elif arch == "phimoe":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i)
        experts(t, m, i)
        for name in ("attn_norm", "ffn_norm", "attn_output"):
            t.plain(name + ".bias", m["E"], layer=i)
    elif arch == "arcee":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i)
        feed_forward(t, m, i, gate=False)
    elif arch == "stablelm":
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
    elif arch == "phi2":
        norms(t, m, i, "attn_norm")
        attention(t, m, i)
        feed_forward(t, m, i, gate=False)
        for name, width in (("attn_norm", m["E"]), ("attn_output", m["E"]), ("ffn_down", m["E"]), ("ffn_up", m["F"])):
            t.plain(name + ".bias", width, layer=i)
    elif arch in ("ernie4_5-moe", "dots1", "deepseek"):
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i, norms="head" if arch == "dots1" else None)
        if i < m["lead"]:
            feed_forward(t, m, i)
        else:
            experts(t, m, i, probabilities_bias=arch != "deepseek")
            feed_forward(t, m, i, m["SF"], suffix="_shexp")
    elif arch == "nemotron":
        norms(t, m, i, "attn_norm", "ffn_norm")
        attention(t, m, i)
        feed_forward(t, m, i, gate=False)
        t.plain("attn_norm.bias", m["E"], layer=i)
        t.plain("ffn_norm.bias", m["E"], layer=i)
    else:
        raise KeyError(arch)


def attention_with_gate(t, m, i):
    """Attention whose q carries a gate beside it: q twice as wide as what leaves."""
    size = m["D"]
    t.matrix("attn_q", m["E"], 2 * m["H"] * size, layer=i)
    t.matrix("attn_k", m["E"], m["KV"] * size, layer=i)
    t.matrix("attn_v", m["E"], m["KV"] * size, layer=i)
    t.matrix("attn_output", m["H"] * size, m["E"], layer=i)
    t.plain("attn_q_norm.weight", size, layer=i)
    t.plain("attn_k_norm.weight", size, layer=i)


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


def tensors_of(name):
    """[(tensor name, type, shape)] of a model."""
    m = of_model(name)
    t = Tensors(m)
    t.matrix("token_embd", m["E"], m["V"])
    if m["arch"] == "gemma4":
        t.plain("rope_freqs.weight", m["D"] // 2)
    if m["arch"] == "gemma3n":
        t.matrix("altup_proj", m["E"], m["E"], m["altup"] - 1)
        t.matrix("altup_unembd_proj", m["E"], m["E"], m["altup"] - 1)
    if m.get("per_layer"):
        t.matrix("per_layer_token_embd", m["per_layer"] * m["L"], m["V"])
        t.matrix("per_layer_model_proj", m["E"], m["per_layer"] * m["L"])
        t.plain("per_layer_proj_norm.weight", m["per_layer"])
    for i in range(m["L"]):
        _block(t, m, i)
    t.plain(("token_embd_norm" if m["arch"].startswith("lfm2") else "output_norm") + ".weight", m["E"])
    if m["arch"] in ("starcoder2", "phimoe", "nemotron", "stablelm", "phi2"):
        t.plain("output_norm.bias", m["E"])
    if not m.get("tied"):
        t.matrix("output", m["E"], m["V"])
        if m["arch"] in ("phimoe", "phi2"):
            t.plain("output.bias", m["V"])
    return t.list


def pairs_of(name):
    """{key: value} of the header of a model."""
    m = of_model(name)
    a = m["arch"]
    keys = {"block_count": m["L"], "context_length": 1048576, "embedding_length": m["E"], "feed_forward_length": m.get("F", 0), "vocab_size": m["V"],
            "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5, "rope.freq_base": 1e6, "attention.head_count": m.get("H", 0)}
    if "KV" in m:
        keys.update({"attention.head_count_kv": m["KV"], "attention.key_length": m["D"], "attention.value_length": m["D"],
                     "rope.dimension_count": m.get("rot", m["D"])})
    if m.get("X"):
        keys.update({"expert_count": m["X"], "expert_used_count": m["U"], "expert_feed_forward_length": m.get("XF", 0),
                     "leading_dense_block_count": m.get("lead", 0),
                     "expert_gating_func": 2 if a in ("glm4moe", "lfm2moe", "nemotron_h_moe", "minimax-m2", "dots1") or m.get("q_rank") else 1,
                     "expert_weights_scale": 1.0, "expert_weights_norm": True})
        if m.get("SF"):
            keys.update({"expert_shared_feed_forward_length": m["SF"], "expert_shared_count": 1})
        if m.get("shared"):
            keys["expert_shared_count"] = m["shared"]
        if a == "dots1" or m.get("shared_experts"):
            keys["expert_shared_count"] = 2
        if a == "ernie4_5-moe":
            keys["interleave_moe_layer_step"] = 1
        if m.get("expert_groups"):
            keys.update({"expert_group_count": m["expert_groups"][0], "expert_group_used_count": m["expert_groups"][1]})
    if "kv_rank" in m:
        rank, rope, key = m["kv_rank"], m["rope"], m["nope"] + m["rope"]
        keys.update({"attention.kv_lora_rank": rank, "rope.dimension_count": rope, "attention.head_count_kv": m["H"], "attention.key_length": key,
                     "attention.value_length": m["value"]})
        if m.get("absorbed"):
            keys.update({"attention.head_count_kv": 1, "attention.key_length": rank + rope, "attention.value_length": rank, "attention.key_length_mla": key,
                         "attention.value_length_mla": m["value"]})
        if m.get("q_rank"):
            keys["attention.q_lora_rank"] = m["q_rank"]
    if "ssm" in m:
        s = m["ssm"]
        keys.update({"ssm.conv_kernel": s["conv"], "ssm.inner_size": s["inner"], "ssm.state_size": s["state"], "ssm.time_step_rank": s["rank"]})
        if "groups" in s:
            keys["ssm.group_count"] = s["groups"]
    for short, key in (("interval", "full_attention_interval"), ("W", "attention.sliding_window"), ("conv_cache", "shortconv.l_cache"),
                       ("nextn", "nextn_predict_layers"),
                       ("step", "interleave_moe_layer_step"), ("shared_kv", "attention.shared_kv_layers"), ("per_layer", "embedding_length_per_layer_input")):
        if short in m:
            keys[key] = m[short]
    if a in ("gemma3n", "gemma4"):
        keys["attention.sliding_window_pattern"] = [(i + 1) % (5 if a == "gemma3n" else 6) != 0 for i in range(m["L"])]
    if a == "gemma3n":
        keys.update({"altup.active_idx": 0, "altup.num_inputs": m["altup"]})
    if a == "gemma4":
        keys.update({"attention.key_length_swa": m["D_window"], "attention.value_length_swa": m["D_window"], "rope.dimension_count_swa": m["D_window"],
                     "final_logit_softcapping": 30.0})
    if a == "gemma2":
        keys.update({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0})
    if a in ("cohere2", "command-r", "granite", "granitemoe", "granitehybrid"):
        keys["logit_scale"] = 0.25
    if a.startswith("granite"):
        keys.update({"residual_scale": 0.22, "embedding_scale": 12.0, "attention.scale": 0.015})
    if "deepstack" in m:
        keys["n_deepstack_layers"] = m["deepstack"]
    if a in ("qwen35", "qwen35moe", "qwen2vl", "qwen3vl", "qwen3vlmoe"):
        keys["rope.dimension_sections"] = [11, 11, 10, 0]
    pairs = {"general.architecture": a, "general.name": name, "general.file_type": {"F16": 1, "Q8_0": 7}.get(m.get("quant"), 15),
             "general.quantization_version": 2}
    pairs.update(("%s.%s" % (a, key), value) for key, value in keys.items())
    pairs["tokenizer.ggml.model"] = "none"
    return pairs
