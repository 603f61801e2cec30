# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a header that only the estimators of Ollama up to 0.24 need. Pure.

They are read by their `GraphSize` and `VisionGraphSize` (fs/ggml/ggml.go).
"""

from __future__ import annotations

from typing import Any

from .header import Header

VISION_KEYS = ("image_size", "patch_size", "num_channels", "embedding_length", "max_num_tiles", "max_pixels")


def estimator_facts(header: Header) -> dict[str, Any]:
    """Return the facts for `releases/before_0_30`.

    Args:
        header: of the model.

    Returns:
        A dictionary with these keys; what the header does not have is None:
            gate_expert_bytes: bytes of blk.0.ffn_gate_exps.
            gate_split_length: rows of blk.0.ffn_gate.0 (Mixtral files of 2023).
            qkv_bias_length: elements of blk.0.attn_qkv.bias.
            token_embedding_bytes: bytes of token_embd alone.
            rope_frequencies: elements of rope_freqs.
            cross_attention_layers: list of the numbers of these layers.
            vision: VISION_KEYS, `head_count`, `weight_bytes` and `class_embedding` (bool) of the vision tower.
    """
    tensors = dict((tensor.name, tensor) for tensor in header.tensors)
    architecture = header.keys.get("general.architecture")

    def key(name: str) -> int | None:
        value = header.keys.get("%s.%s" % (architecture, name))
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def dimension(name: str, index: int) -> int | None:
        shape = tensors[name].shape if name in tensors else ()
        return shape[index] if len(shape) > index else None

    cross = header.keys.get("%s.attention.cross_attention_layers" % architecture)
    vision: dict[str, Any] | None = None
    if key("vision.block_count"):
        vision = dict((name, key("vision." + name)) for name in VISION_KEYS)
        vision["head_count"] = key("vision.attention.head_count")
        vision["weight_bytes"] = sum(tensor.bytes or 0 for tensor in header.tensors if tensor.name.startswith("v."))
        vision["class_embedding"] = "v.class_embd" in tensors

    def size(name: str) -> int | None:
        return tensors[name].bytes if name in tensors else None

    return {
        "gate_expert_bytes": size("blk.0.ffn_gate_exps.weight"),
        "gate_split_length": dimension("blk.0.ffn_gate.0.weight", 1),
        "qkv_bias_length": dimension("blk.0.attn_qkv.bias", 0),
        "token_embedding_bytes": size("token_embd.weight"),
        "rope_frequencies": dimension("rope_freqs.weights", 0),
        "cross_attention_layers": [layer for layer in cross if isinstance(layer, int)]
        if isinstance(cross, list)
        else None,
        "vision": vision,
    }
