# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The rig's models: dimensions (models.json) -> key-values and tensors of their GGUF files.

Tensor types follow llama.cpp's Q4_K_M mix (Q6_K for attn_v and ffn_down in the layers of `more_bits`), gpt-oss those of
its published file; so the sums per device are those of the recorded engine rows (tests/unit/rig/test_models.py compares
them). The small models have F16. Names are those of llama.cpp and, for llama4's vision part, of Ollama's converter.
"""

from __future__ import annotations

import functools
import json
import os
import random

from tests.rig.models import gguf

with open(os.path.join(os.path.dirname(__file__), "models.json"), encoding="utf-8") as _stream:
    MODELS = json.load(_stream)


def full_name(name):
    """'tiny' -> 'tiny:latest'; KeyError for a model that the rig does not have."""
    name = name if ":" in name else name + ":latest"
    if name not in MODELS:
        raise KeyError("the rig has no model %s: it has %s" % (name, ", ".join(MODELS)))
    return name


def more_bits(layer, blocks):
    """Whether llama.cpp's Q4_K_M gives this layer's attn_v and ffn_down more bits."""
    return layer < blocks // 8 or layer >= 7 * blocks // 8 or (layer - blocks // 8) % 3 == 2


# --- tensors -------------------------------------------------------------------------------------


def _attention(m, prefix, types):
    width, inner, narrow = m["width"], m["heads"] * m["head_size"], m["kv_heads"] * m["head_size"]
    return [
        (prefix + "attn_norm.weight", "F32", (width,)),
        (prefix + "attn_q.weight", types[0], (width, inner)),
        (prefix + "attn_k.weight", types[0], (width, narrow)),
        (prefix + "attn_v.weight", types[1], (width, narrow)),
        (prefix + "attn_output.weight", types[0], (inner, width)),
    ]


def _feed_forward(m, prefix, types, size=None, suffix="", experts=()):
    width, size = m["width"], size or m["feed_forward"]
    return [
        (prefix + "ffn_gate%s.weight" % suffix, types[0], (width, size) + experts),
        (prefix + "ffn_up%s.weight" % suffix, types[0], (width, size) + experts),
        (prefix + "ffn_down%s.weight" % suffix, types[1], (size, width) + experts),
    ]


def _block(m, layer):
    prefix, width = "blk.%d." % layer, m["width"]
    if m["file_type"] == 1:
        types = ("F16", "F16")
    else:
        types = ("Q4_K", "Q6_K" if more_bits(layer, m["blocks"]) else "Q4_K")
    norm = [(prefix + "ffn_norm.weight", "F32", (width,))]
    if m["architecture"] == "llama4":
        size, count = m["expert_feed_forward"], (m["experts"],)
        return (
            _attention(m, prefix, types)
            + norm
            + [(prefix + "ffn_gate_inp.weight", "F32", (width,) + count)]
            + _feed_forward(m, prefix, types, size, "_exps", count)
            + _feed_forward(m, prefix, types, size, "_shexp")
        )
    if m["architecture"] == "gpt-oss":
        return _gpt_oss_block(m, prefix)
    if m["architecture"] == "glm4moe":
        return _attention(m, prefix, types) + _glm_feed_forward(m, layer, types) + _head(m, layer, types)
    qk_norm = []
    if m["architecture"] == "qwen3":
        qk_norm = [(prefix + "attn_%s_norm.weight" % one, "F32", (m["head_size"],)) for one in "qk"]
    return _attention(m, prefix, types) + qk_norm + norm + _feed_forward(m, prefix, types)


def _glm_feed_forward(m, layer, types):
    prefix, width, count = "blk.%d." % layer, m["width"], m["experts"]
    norm = [(prefix + "post_attention_norm.weight", "F32", (width,))]
    if layer < m["dense_blocks"]:
        return norm + _feed_forward(m, prefix, types)
    size = m["expert_feed_forward"]
    return (
        norm
        + [(prefix + "ffn_gate_inp.weight", "F32", (width, count)), (prefix + "exp_probs_b.bias", "F32", (count,))]
        + _feed_forward(m, prefix, types, size, "_exps", (count,))
        + _feed_forward(m, prefix, types, size, "_shexp")
    )


def _head(m, layer, types):
    """What a block that predicts a further token has beside the parts of any block."""
    if layer < m["blocks"] - m["heads_that_predict"]:
        return []
    prefix, width = "blk.%d.nextn." % layer, m["width"]
    norms = ("enorm", "hnorm", "shared_head_norm")
    return [(prefix + "eh_proj.weight", types[0], (2 * width, width))] + [
        (prefix + name + ".weight", "F32", (width,)) for name in norms
    ]


def _gpt_oss_block(m, prefix):
    width, size, count = m["width"], m["expert_feed_forward"], m["experts"]
    wide, narrow = m["heads"] * m["head_size"], m["kv_heads"] * m["head_size"]
    tensors = _attention(m, prefix, ("Q8_0", "Q8_0"))
    tensors += [
        (prefix + "attn_%s.bias" % part, "F32", (length,))
        for part, length in (("q", wide), ("k", narrow), ("v", narrow), ("output", width))
    ]
    tensors += [
        (prefix + "attn_sinks.weight", "F32", (m["heads"],)),
        (prefix + "post_attention_norm.weight", "F32", (width,)),
    ]
    tensors += [
        (prefix + "ffn_gate_inp.weight", "F32", (width, count)),
        (prefix + "ffn_gate_inp.bias", "F32", (count,)),
    ]
    tensors += _feed_forward(m, prefix, ("MXFP4", "MXFP4"), size, "_exps", (count,))
    return tensors + [
        (prefix + "ffn_%s_exps.bias" % part, "F32", (length, count))
        for part, length in (("gate", size), ("up", size), ("down", width))
    ]


def _vision(v, width):
    tensors = [
        ("v.class_embedding", "F32", (v["width"],)),
        ("v.patch_embedding.weight", "F32", (3 * v["patch"] ** 2, v["width"])),
        ("v.positional_embedding_vlm", "F32", (v["width"], (v["image"] // v["patch"]) ** 2 + 1)),
    ]
    for name in ("v.layernorm_pre", "v.layernorm_post"):
        tensors += [(name + ".weight", "F32", (v["width"],)), (name + ".bias", "F32", (v["width"],))]
    for layer in range(v["blocks"]):
        prefix = "v.blk.%d." % layer
        for name, shape in (
            ("attn_q", (v["width"],) * 2),
            ("attn_k", (v["width"],) * 2),
            ("attn_v", (v["width"],) * 2),
            ("attn_output", (v["width"],) * 2),
            ("mlp.fc1", (v["width"], v["feed_forward"])),
            ("mlp.fc2", (v["feed_forward"], v["width"])),
        ):
            tensors += [(prefix + name + ".weight", "F16", shape), (prefix + name + ".bias", "F32", shape[1:])]
        for name in ("attn_norm", "ffn_norm"):
            tensors += [
                (prefix + name + ".weight", "F32", (v["width"],)),
                (prefix + name + ".bias", "F32", (v["width"],)),
            ]
    return tensors + [
        ("v.vision_adapter.mlp.fc1.weight", "F16", (v["feed_forward"], v["adapter"])),
        ("v.vision_adapter.mlp.fc2.weight", "F16", (v["adapter"], v["adapter"])),
        ("mm.linear_1.weight", "F16", (v["adapter"], width)),
    ]


def tensors_of(name):
    """[(tensor name, type, shape)] in the order of the file."""
    m = MODELS[full_name(name)]
    embedding, output = {1: ("F16", "F16"), 4: ("Q8_0", "Q8_0")}.get(m["file_type"], ("Q4_K", "Q6_K"))
    tensors = [("token_embd.weight", embedding, (m["width"], m["vocabulary"]))]
    if m["sparse"] and m["architecture"] in ("llama", "llama4"):
        tensors.append(("rope_freqs.weight", "F32", (m["head_size"] // 2,)))
    for layer in range(m["blocks"]):
        tensors += _block(m, layer)
    tensors += [("output_norm.weight", "F32", (m["width"],)), ("output.weight", output, (m["width"], m["vocabulary"]))]
    return tensors + (_vision(m["vision"], m["width"]) if "vision" in m else [])


# --- key-values ----------------------------------------------------------------------------------


def _vocabulary(m):
    """Invented tokens (unique, of realistic length), their types and merges.

    They are as long as those of a real tokenizer, but cannot be used as one.
    """
    count = m["vocabulary"]
    if not m["merges"]:
        tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
        tokens += ["\u2581w%d" % number for number in range(count - len(tokens))]
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(i) for i in range(count)],
            "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (count - 259),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 0,
        }
    special = 256
    tokens = ["\u0120t%x" % number for number in range(count - special)] + [
        "<|special_%d|>" % number for number in range(special)
    ]
    merges = ["t%x %x" % (number % 4096, number) for number in range(m["merges"])]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": {"llama": "llama-bpe", "qwen3": "qwen2", "llama4": "llama4"}.get(
            m["architecture"], "gpt-4o"
        ),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (count - special) + [3] * special,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": count - special,
        "tokenizer.ggml.eos_token_id": count - special + 1,
    }


def pairs_of(name):
    """{key: value} of the header."""
    m = MODELS[full_name(name)]
    a = m["architecture"]
    pairs = {
        "general.architecture": a,
        "general.name": name.partition(":")[0],
        "general.file_type": m["file_type"],
        "general.quantization_version": 2,
        a + ".block_count": m["blocks"],
        a + ".context_length": m["context"],
        a + ".embedding_length": m["width"],
        a + ".feed_forward_length": m["feed_forward"],
        a + ".attention.head_count": m["heads"],
        a + ".attention.head_count_kv": m["kv_heads"],
        a + ".attention.layer_norm_rms_epsilon": 1e-05,
        a + ".rope.freq_base": m["rope_base"],
        a + ".rope.dimension_count": m["head_size"],
    }
    if m["sparse"]:
        pairs.update({a + ".attention.key_length": m["head_size"], a + ".attention.value_length": m["head_size"]})
    pairs[a + ".vocab_size"] = m["vocabulary"]
    if "experts" in m:
        pairs.update(
            {
                a + ".expert_count": m["experts"],
                a + ".expert_used_count": m["experts_used"],
                a + ".expert_feed_forward_length": m["expert_feed_forward"],
            }
        )
    if a == "llama4":
        pairs.update(
            {a + ".attention.chunk_size": m["chunk"], a + ".interleave_moe_layer_step": 1, a + ".use_qk_norm": True}
        )
    if a == "glm4moe":
        pairs.update(
            {
                a + ".nextn_predict_layers": m["heads_that_predict"],
                a + ".leading_dense_block_count": m["dense_blocks"],
                a + ".expert_gating_func": 2,
                a + ".expert_weights_scale": 1.0,
                a + ".expert_weights_norm": True,
                a + ".expert_shared_count": 1,
            }
        )
    if a == "gpt-oss":
        pairs.update(
            {
                a + ".attention.sliding_window": m["window"],
                a + ".rope.scaling.type": "yarn",
                a + ".rope.scaling.factor": 32.0,
                a + ".rope.scaling.original_context_length": 4096,
            }
        )
    if "pooling_type" in m:
        pairs[a + ".pooling_type"] = m["pooling_type"]
    if "vision" in m:
        v = m["vision"]
        pairs.update(
            {
                a + ".vision.block_count": v["blocks"],
                a + ".vision.embedding_length": v["width"],
                a + ".vision.feed_forward_length": v["feed_forward"],
                a + ".vision.attention.head_count": v["heads"],
                a + ".vision.image_size": v["image"],
                a + ".vision.patch_size": v["patch"],
                a + ".vision.rope.freq_base": 10000.0,
                a + ".vision.layer_norm_epsilon": 1e-05,
                a + ".vision.pixel_shuffle_ratio": 0.5,
            }
        )
    pairs.update(_vocabulary(m))
    return pairs


# --- files ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def header_of(name):
    """(header bytes, size of the whole file in bytes): header and tensors fill the file exactly, as in a real one.

    The text weights are those of the engine rows, so the files are a little smaller than the published ones.
    """
    head, data = gguf.header(pairs_of(full_name(name)), tensors_of(name))
    return head, len(head) + data


def _half_floats(count, seed):
    """`count` half precision numbers between 0.004 and 0.06, deterministic, as bytes (twenty times faster than packing
    floats).
    """
    numbers = random.Random(seed)
    data = bytearray(2 * count)
    data[0::2] = numbers.randbytes(count)
    # High byte: sign, five bits of exponent (7 to 10 of 31), two bits of mantissa.
    data[1::2] = numbers.randbytes(count).translate(
        bytes((byte & 0x83) | ((7 + (byte >> 2 & 3)) << 2) for byte in range(256))
    )
    return bytes(data)


def dense_data(name):
    """All bytes of a model with real data, in pieces: the header, then each tensor with its padding."""
    yield header_of(full_name(name))[0]
    for number, (_name, kind, shape) in enumerate(tensors_of(name)):
        size = gguf.tensor_bytes(kind, shape)
        data = _half_floats(size // 2, number) if kind == "F16" else b"\x00\x00\x80\x3f" * (size // 4)  # norms are 1.0
        yield data + bytes(gguf.aligned(size) - size)
