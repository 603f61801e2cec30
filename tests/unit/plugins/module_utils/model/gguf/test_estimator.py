# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts that the estimators of Ollama up to 0.24 need."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.estimator import estimator_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import Header, Tensor
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.types import tensor_bytes


def tensor(name, *shape):
    return Tensor(name, list(shape), "F16", tensor_bytes(shape, "F16"))


def header(tensors=(), **keys):
    named = {"m." + name.replace("__", "."): value for name, value in keys.items()}
    return Header(3, dict(named, **{"general.architecture": "m"}), {}, list(tensors), 0)


def test_a_header_without_them_has_none():
    assert set(estimator_facts(header()).values()) == {None}


def test_each_comes_from_its_tensor_or_key():
    tensors = [
        tensor("blk.0.ffn_gate_exps.weight", 4, 5, 6),
        tensor("blk.0.ffn_gate.0.weight", 4, 7),
        tensor("blk.0.attn_qkv.bias", 9),
        tensor("token_embd.weight", 4, 100),
        tensor("rope_freqs.weights", 11),
    ]
    facts = estimator_facts(header(tensors, attention__cross_attention_layers=[3, 8, "x"]))
    assert facts == {
        "gate_expert_bytes": 240,
        "gate_split_length": 7,
        "qkv_bias_length": 9,
        "token_embedding_bytes": 800,
        "rope_frequencies": 11,
        "cross_attention_layers": [3, 8],
        "vision": None,
    }


def test_a_vision_tower():
    tensors = [tensor("v.class_embd", 8), tensor("v.blk.0.x", 4, 4), tensor("blk.0.x", 4)]
    vision = estimator_facts(header(tensors, vision__block_count=2, vision__image_size=560))["vision"]
    assert (vision["weight_bytes"], vision["class_embedding"], vision["image_size"]) == (48, True, 560)
    assert vision["head_count"] is None and vision["patch_size"] is None
