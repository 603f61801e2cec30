# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Dimensions -> key-values and tensors of a GGUF file, as llama.cpp's loaders expect them.

Source: llama.cpp src/models and the names of gguf-py constants. Only what the loader checks is written: no vocabulary
(tokenizer model "none"), no weights. Tensor types follow llama.cpp's mixes.
"""

from __future__ import annotations

from tests.oracle.engine import blocks, further, hybrid_blocks
from tests.oracle.engine.dimensions import of_model
from tests.oracle.engine.parts import BLOCKS, Tensors

#: The modules that fill BLOCKS when they are imported.
BLOCK_MODULES = (blocks, hybrid_blocks, further)


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
        BLOCKS[m["arch"]](t, m, i)
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


def _of_experts(m):
    """Key-values of a mixture of experts."""
    a, keys = m["arch"], {}
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
    return keys


def _of_latent_attention(m):
    """Key-values of latent attention."""
    keys = {}
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
    return keys


def _of_states(m):
    """Key-values of recurrent states."""
    keys = {}
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
    return keys


def _of_architecture(m):
    """Key-values that single architectures or models have."""
    a, keys = m["arch"], {}
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
    return keys


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
    for further_keys in (_of_experts, _of_latent_attention, _of_states, _of_architecture, further.pairs):
        keys.update(further_keys(m))
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
