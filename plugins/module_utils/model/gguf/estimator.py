# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What only the estimators of Ollama up to 0.24 read from a header (their `GraphSize` and `VisionGraphSize`, fs/ggml/ggml.go). Pure."""

from __future__ import annotations

VISION_KEYS = ("image_size", "patch_size", "num_channels", "embedding_length", "max_num_tiles", "max_pixels")


def estimator_facts(header):
    """A dictionary for `releases/`: bytes and elements are integers, what the header does not have is None.

    gate_expert_bytes: blk.0.ffn_gate_exps; gate_split_length: rows of blk.0.ffn_gate.0 (Mixtral files of 2023);
    qkv_bias_length: blk.0.attn_qkv.bias; token_embedding_bytes: token_embd alone; rope_frequencies: elements;
    cross_attention_layers: list of layer numbers; vision: None, or {weight_bytes, head_count, class_embedding, ...}.
    """
    tensors = dict((tensor.name, tensor) for tensor in header.tensors)
    architecture = header.keys.get("general.architecture")

    def key(name):
        value = header.keys.get("%s.%s" % (architecture, name))
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def dimension(name, index):
        shape = tensors[name].shape if name in tensors else ()
        return shape[index] if len(shape) > index else None

    cross = header.keys.get("%s.attention.cross_attention_layers" % architecture)
    vision = None
    if key("vision.block_count"):
        vision = dict((name, key("vision." + name)) for name in VISION_KEYS)
        vision["head_count"] = key("vision.attention.head_count")
        vision["weight_bytes"] = sum(tensor.bytes or 0 for tensor in header.tensors if tensor.name.startswith("v."))
        vision["class_embedding"] = "v.class_embd" in tensors
    return {
        "gate_expert_bytes": tensors["blk.0.ffn_gate_exps.weight"].bytes
        if "blk.0.ffn_gate_exps.weight" in tensors
        else None,
        "gate_split_length": dimension("blk.0.ffn_gate.0.weight", 1),
        "qkv_bias_length": dimension("blk.0.attn_qkv.bias", 0),
        "token_embedding_bytes": tensors["token_embd.weight"].bytes if "token_embd.weight" in tensors else None,
        "rope_frequencies": dimension("rope_freqs.weights", 0),
        "cross_attention_layers": [layer for layer in cross if isinstance(layer, int)]
        if isinstance(cross, list)
        else None,
        "vision": vision,
    }
