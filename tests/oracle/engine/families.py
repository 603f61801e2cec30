# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Dimensions -> key-values and tensors of a GGUF file, as llama.cpp's loaders expect them.

Source: llama.cpp src/models and the names of gguf-py constants. Only what the loader checks is written: no vocabulary
(tokenizer model "none"), no weights. Tensor types follow llama.cpp's mixes.
"""

from __future__ import annotations

from tests.oracle.engine import further
from tests.oracle.engine.dimensions import of_model
from tests.oracle.engine.parts import (
    Tensors,
    attention,
    delta_net,
    experts,
    feed_forward,
    latent_attention,
    norms,
    of_layer,
    short_convolution,
    state_space_1,
    state_space_2,
)

# --- blocks by architecture ------------------------------------------------------------------------------------------


def _block(t, m, i):
    arch = m["arch"]
    if arch in (
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
    ):
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
        for name, width in (
            ("attn_norm", m["E"]),
            ("ffn_norm", m["E"]),
            ("attn_output", m["E"]),
            ("ffn_down", m["E"]),
            ("ffn_up", m["F"]),
        ):
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
    elif not further.block(t, m, i):
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
    further.beside(t, m)
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
    if m["arch"] in further.ENCODERS:
        return t.list
    if m["arch"] != "olmo":
        t.plain(("token_embd_norm" if m["arch"].startswith("lfm2") else "output_norm") + ".weight", m["E"])
    if m["arch"] in ("starcoder2", "phimoe", "nemotron", "stablelm", "phi2", "falcon", "starcoder", "rwkv6", "rwkv7"):
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
    keys = {
        "block_count": m["L"],
        "context_length": m.get("positions", 1048576),
        "embedding_length": m["E"],
        "feed_forward_length": m.get("F", 0),
        "vocab_size": m["V"],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
        "rope.freq_base": 1e6,
        "attention.head_count": m.get("H", 0),
    }
    if "KV" in m:
        keys.update(
            {
                "attention.head_count_kv": m["KV"],
                "attention.key_length": m["D"],
                "attention.value_length": m["D"],
                "rope.dimension_count": m.get("rot", m["D"]),
            }
        )
    if m.get("X"):
        keys.update(
            {
                "expert_count": m["X"],
                "expert_used_count": m["U"],
                "expert_feed_forward_length": m.get("XF", 0),
                "leading_dense_block_count": m.get("lead", 0),
                "expert_gating_func": 2
                if a in ("glm4moe", "lfm2moe", "nemotron_h_moe", "minimax-m2", "dots1") or m.get("q_rank")
                else 1,
                "expert_weights_scale": 1.0,
                "expert_weights_norm": True,
            }
        )
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
        keys.update(
            {
                "attention.kv_lora_rank": rank,
                "rope.dimension_count": rope,
                "attention.head_count_kv": m["H"],
                "attention.key_length": key,
                "attention.value_length": m["value"],
            }
        )
        if m.get("absorbed"):
            keys.update(
                {
                    "attention.head_count_kv": 1,
                    "attention.key_length": rank + rope,
                    "attention.value_length": rank,
                    "attention.key_length_mla": key,
                    "attention.value_length_mla": m["value"],
                }
            )
        if m.get("q_rank"):
            keys["attention.q_lora_rank"] = m["q_rank"]
    if "ssm" in m:
        s = m["ssm"]
        keys.update(
            {
                "ssm.conv_kernel": s["conv"],
                "ssm.inner_size": s["inner"],
                "ssm.state_size": s["state"],
                "ssm.time_step_rank": s["rank"],
            }
        )
        if "groups" in s:
            keys["ssm.group_count"] = s["groups"]
    for short, key in (
        ("interval", "full_attention_interval"),
        ("W", "attention.sliding_window"),
        ("conv_cache", "shortconv.l_cache"),
        ("nextn", "nextn_predict_layers"),
        ("step", "interleave_moe_layer_step"),
        ("shared_kv", "attention.shared_kv_layers"),
        ("per_layer", "embedding_length_per_layer_input"),
    ):
        if short in m:
            keys[key] = m[short]
    if a in ("gemma3n", "gemma4"):
        keys["attention.sliding_window_pattern"] = [(i + 1) % (5 if a == "gemma3n" else 6) != 0 for i in range(m["L"])]
    if a == "gemma3n":
        keys.update({"altup.active_idx": 0, "altup.num_inputs": m["altup"]})
    if a == "gemma4":
        keys.update(
            {
                "attention.key_length_swa": m["D_window"],
                "attention.value_length_swa": m["D_window"],
                "rope.dimension_count_swa": m["D_window"],
                "final_logit_softcapping": 30.0,
            }
        )
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
    keys.update(further.pairs(m))
    pairs = {
        "general.architecture": a,
        "general.name": name,
        "general.file_type": {"F16": 1, "Q8_0": 7}.get(m.get("quant"), 15),
        "general.quantization_version": 2,
    }
    pairs.update(("%s.%s" % (a, key), value) for key, value in keys.items())
    if m.get("token_types"):
        pairs["tokenizer.ggml.token_type_count"] = m["token_types"]
    pairs["tokenizer.ggml.model"] = "none"
    return pairs


def files_of(name):
    """{file name without suffix: (key-values, tensors)} of a model: one, or parts as llama-gguf-split writes them."""
    pairs, tensors, count = pairs_of(name), tensors_of(name), of_model(name).get("parts", 1)
    if count == 1:
        return {name: (pairs, tensors)}
    each, files = -(-len(tensors) // count), {}
    for number in range(count):
        numbered = {"split.no": number, "split.count": count, "split.tensors.count": len(tensors)}
        files[name.replace("-00001-", "-%05d-" % (number + 1))] = (
            dict(pairs if not number else {}, **numbered),
            tensors[number * each : (number + 1) * each],
        )
    return files
