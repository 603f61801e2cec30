# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Further families: models of architectures that came to the table last.

Dimensions are short as in dimensions.py, blocks as in families.py. The product was first compared with the engine as
it was (`python -m tests.oracle.record MODEL ...`), then what was wrong was modelled.
"""

from __future__ import annotations

from tests.oracle.engine.parts import (
    attention,
    experts,
    feed_forward,
    head,
    is_head,
    latent_attention,
    norms,
    of_architectures,
)

FURTHER = {
    "falcon-7b": {"arch": "falcon", "L": 32, "E": 4544, "H": 71, "KV": 1, "D": 64, "F": 18176, "V": 65024},
    "falcon-40b": {
        "arch": "falcon",
        "L": 60,
        "E": 8192,
        "H": 128,
        "KV": 8,
        "D": 64,
        "F": 32768,
        "V": 65024,
        "second_norm": True,
    },
    "bge-m3": {
        "arch": "bert",
        "L": 24,
        "E": 1024,
        "H": 16,
        "KV": 16,
        "D": 64,
        "F": 4096,
        "V": 250002,
        "positions": 8192,
        "quant": "F16",
        "token_types": 1,
    },
    "mxbai-embed-large": {
        "arch": "bert",
        "L": 24,
        "E": 1024,
        "H": 16,
        "KV": 16,
        "D": 64,
        "F": 4096,
        "V": 30522,
        "positions": 512,
        "quant": "F16",
        "token_types": 2,
    },
    "nomic-embed-text": {
        "arch": "nomic-bert",
        "L": 12,
        "E": 768,
        "H": 12,
        "KV": 12,
        "D": 64,
        "F": 3072,
        "V": 30522,
        "quant": "F16",
        "token_types": 2,
    },
    "embeddinggemma-300m": {
        "arch": "gemma-embedding",
        "L": 24,
        "E": 768,
        "H": 3,
        "KV": 1,
        "D": 256,
        "F": 1152,
        "V": 262144,
        "W": 512,
        "tied": True,
    },
    "qwen3-embedding-8b": {
        "arch": "qwen3",
        "L": 36,
        "E": 4096,
        "H": 32,
        "KV": 8,
        "D": 128,
        "F": 12288,
        "V": 151665,
        "pooling": 3,
    },
    "glm4-9b-chat": {
        "arch": "chatglm",
        "L": 40,
        "E": 4096,
        "H": 32,
        "KV": 2,
        "D": 128,
        "F": 13696,
        "V": 151552,
        "rot": 64,
    },
    "dbrx-132b": {
        "arch": "dbrx",
        "L": 40,
        "E": 6144,
        "H": 48,
        "KV": 8,
        "D": 128,
        "F": 10752,
        "V": 100352,
        "X": 16,
        "U": 4,
        "XF": 10752,
    },
    "starcoder-15b": {
        "arch": "starcoder",
        "L": 40,
        "E": 6144,
        "H": 48,
        "KV": 1,
        "D": 128,
        "F": 24576,
        "V": 49152,
        "positions": 8192,
    },
    "olmo-7b": {"arch": "olmo", "L": 32, "E": 4096, "H": 32, "KV": 32, "D": 128, "F": 11008, "V": 50304},
    "minicpm-2b": {
        "arch": "minicpm",
        "L": 40,
        "E": 2304,
        "H": 36,
        "KV": 36,
        "D": 64,
        "F": 5760,
        "V": 122753,
        "tied": True,
    },
    "baichuan2-7b": {"arch": "baichuan", "L": 32, "E": 4096, "H": 32, "KV": 32, "D": 128, "F": 11008, "V": 125696},
    "rwkv6-7b": {"arch": "rwkv6", "L": 32, "E": 4096, "F": 14336, "V": 65536, "wkv": 64, "lora": (64, 128)},
    "rwkv7-2.9b": {"arch": "rwkv7", "L": 32, "E": 2560, "F": 10240, "V": 65536, "wkv": 64, "lora": (96, 96, 64, 320)},
    "deepseek-v3.2": {
        "arch": "deepseek32",
        "L": 61,
        "E": 7168,
        "H": 128,
        "F": 18432,
        "V": 129280,
        "X": 256,
        "U": 8,
        "XF": 2048,
        "shared": 1,
        "lead": 3,
        "nope": 128,
        "rope": 64,
        "value": 128,
        "kv_rank": 512,
        "q_rank": 1536,
        "absorbed": True,
        "indexer": (64, 128),
    },
    # A model in three files; the engine is given the first and finds the others by its name.
    "llama3.1-8b-00001-of-00003": {
        "arch": "llama",
        "L": 32,
        "E": 4096,
        "H": 32,
        "KV": 8,
        "D": 128,
        "F": 14336,
        "V": 128256,
        "parts": 3,
    },
}
# Weights and cache are exact, the compute buffers a careful estimate.
ESTIMATED_ONLY = ("bert", "nomic-bert", "gemma-embedding", "rwkv6", "rwkv7", "deepseek32")
ENCODERS = ("bert", "nomic-bert")  # no output matrix, no cache: they make embeddings of a whole text at once


def biases(t, i, *named):
    """Biases of (name, width)."""
    for name, width in named:
        t.plain(name + ".bias", width, layer=i)


@of_architectures("falcon")
def _falcon(t, m, i):
    for name in ("attn_norm", "attn_norm_2") if m.get("second_norm") else ("attn_norm",):
        norms(t, m, i, name)
        biases(t, i, (name, m["E"]))
    attention(t, m, i, fused=True)
    feed_forward(t, m, i, gate=False)


@of_architectures("bert")
def _bert(t, m, i):
    attention(t, dict(m, qkv_bias=True), i)
    norms(t, m, i, "attn_output_norm", "layer_output_norm")
    feed_forward(t, m, i, gate=False)
    biases(
        t,
        i,
        ("attn_output", m["E"]),
        ("attn_output_norm", m["E"]),
        ("ffn_up", m["F"]),
        ("ffn_down", m["E"]),
        ("layer_output_norm", m["E"]),
    )


@of_architectures("nomic-bert")
def _nomic_bert(t, m, i):
    attention(t, m, i, fused=True)
    norms(t, m, i, "attn_output_norm", "layer_output_norm")
    feed_forward(t, m, i)
    biases(t, i, ("attn_output_norm", m["E"]), ("layer_output_norm", m["E"]))


@of_architectures("gemma-embedding")
def _gemma_embedding(t, m, i):
    norms(t, m, i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    attention(t, m, i, norms="head")
    feed_forward(t, m, i)


@of_architectures("chatglm")
def _chatglm(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, fused=True)
    biases(t, i, ("attn_qkv", (m["H"] + 2 * m["KV"]) * m["D"]))
    feed_forward(t, m, i, gate=False, double_up=True)


@of_architectures("dbrx")
def _dbrx(t, m, i):
    norms(t, m, i, "attn_norm", "attn_output_norm")
    attention(t, m, i, fused=True)
    experts(t, m, i)


@of_architectures("starcoder")
def _starcoder(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i, fused=True)
    feed_forward(t, m, i, gate=False)
    biases(
        t,
        i,
        ("attn_norm", m["E"]),
        ("attn_qkv", (m["H"] + 2 * m["KV"]) * m["D"]),
        ("attn_output", m["E"]),
        ("ffn_norm", m["E"]),
        ("ffn_up", m["F"]),
        ("ffn_down", m["E"]),
    )


@of_architectures("olmo")
def _olmo(t, m, i):
    attention(t, m, i)
    feed_forward(t, m, i)


@of_architectures("minicpm", "baichuan")
def _minicpm(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    attention(t, m, i)
    feed_forward(t, m, i)


@of_architectures("deepseek32")
def _deepseek32(t, m, i):
    norms(t, m, i, "attn_norm", "ffn_norm")
    latent_attention(t, m, i)
    heads, size = m["indexer"]
    t.plain("indexer.k_norm.weight", size, layer=i)
    t.plain("indexer.k_norm.bias", size, layer=i)
    t.matrix("indexer.proj", m["E"], heads, layer=i)
    t.matrix("indexer.attn_k", m["E"], size, layer=i)
    t.matrix("indexer.attn_q_b", m["q_rank"], heads * size, layer=i)
    if i < m["lead"]:
        feed_forward(t, m, i)
    else:
        experts(t, m, i, probabilities_bias=True)
        feed_forward(t, m, i, m["XF"] * m["shared"], suffix="_shexp")
    if is_head(m, i):
        head(t, m, i, own_vocabulary=True)


@of_architectures("rwkv6", "rwkv7")
def _rwkv(t, m, i):
    width = m["E"]
    for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
        t.plain(name + ".weight", width, layer=i)
        t.plain(name + ".bias", width, layer=i)
    for name in ("key", "value", "receptance", "output"):
        t.matrix("time_mix_" + name, width, width, layer=i)
    t.plain("channel_mix_lerp_k.weight", width, 1, 1, layer=i)
    t.matrix("channel_mix_key", width, m["F"], layer=i)
    t.matrix("channel_mix_value", m["F"], width, layer=i)
    if m["arch"] == "rwkv6":
        mix, decay = m["lora"]
        t.matrix("time_mix_gate", width, width, layer=i)
        t.plain("time_mix_w1.weight", width, 5 * mix, layer=i)
        t.plain("time_mix_w2.weight", mix, width, 5, layer=i)
        t.plain("time_mix_lerp_x.weight", width, 1, 1, layer=i)
        t.plain("time_mix_lerp_fused.weight", width, 1, 1, 5, layer=i)
        t.plain("time_mix_first.weight", m["wkv"], width // m["wkv"], layer=i)
        t.plain("time_mix_decay.weight", width, layer=i)
        t.plain("time_mix_decay_w1.weight", width, decay, layer=i)
        t.plain("time_mix_decay_w2.weight", decay, width, layer=i)
        t.plain("channel_mix_lerp_r.weight", width, 1, 1, layer=i)
        t.matrix("channel_mix_receptance", width, width, layer=i)
        return
    decay, rate, values, gate = m["lora"]
    pairs_of_matrices = [("w", decay), ("a", rate), ("v", values if i else rate)]
    for letter, rank in pairs_of_matrices:
        t.plain("time_mix_%s0.weight" % letter, width, layer=i)
        t.plain("time_mix_%s1.weight" % letter, width, rank, layer=i)
        t.plain("time_mix_%s2.weight" % letter, rank, width, layer=i)
    t.plain("time_mix_g1.weight", width, gate, layer=i)
    t.plain("time_mix_g2.weight", gate, width, layer=i)
    t.plain("time_mix_lerp_fused.weight", width, 1, 1, 6, layer=i)
    for name in ("k_k", "k_a", "r_k"):
        t.plain("time_mix_%s.weight" % name, width, layer=i)


def beside(t, m):
    """The tensors of the whole model that these families have beside the token embedding."""
    if m.get("positions"):
        t.plain("position_embd.weight", m["E"], m["positions"])
    if m.get("token_types"):
        t.plain("token_types.weight", m["E"], m["token_types"])
    if m["arch"] in ENCODERS or "wkv" in m:
        t.plain("token_embd_norm.weight", m["E"])
        t.plain("token_embd_norm.bias", m["E"])


def pairs(m):
    """Key-values that these families need beside the usual ones, without the architecture's name."""
    keys = {}
    if m["arch"] in ENCODERS or m["arch"] == "gemma-embedding":
        keys.update({"attention.causal": False, "pooling_type": 1})
    if m.get("pooling"):
        keys["pooling_type"] = m["pooling"]
    if m["arch"] == "olmo":
        keys["attention.clamp_kqv"] = 0.0
    if m["arch"] == "dbrx":
        keys["attention.clamp_kqv"] = 8.0
    if "wkv" in m:
        keys["wkv.head_size"] = m["wkv"]
        names = (
            ("time_mix_extra_dim", "time_decay_extra_dim")
            if m["arch"] == "rwkv6"
            else tuple("attention.%s_lora_rank" % name for name in ("decay", "iclr", "value_residual_mix", "gate"))
        )
        keys.update(zip(names, m["lora"]))
    if "indexer" in m:
        keys.update(
            {
                "attention.indexer.head_count": m["indexer"][0],
                "attention.indexer.key_length": m["indexer"][1],
                "attention.indexer.top_k": 2048,
            }
        )
    if m["arch"] == "minicpm":
        keys.update({"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 9.0})
    return keys
