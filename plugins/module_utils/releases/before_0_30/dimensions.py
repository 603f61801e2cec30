# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The figures of a model that the estimators of Ollama up to 0.24 read from its header (fs/ggml/ggml.go, type KV)."""

from __future__ import annotations

from typing import Optional

from ...model.schema import ModelFacts


class Dimensions:
    """Figures of one model under the names that the formulas use; bytes and elements are integers.

    Args:
        model: the model's facts. Their `estimator` (gguf/estimator.py) holds what only these estimators read; where
            it is missing, as with facts from an API, the formulas that need it are a little off.
    """

    def __init__(self, model: ModelFacts):
        extra = model.estimator or {}
        self.architecture = model.architecture
        self.blocks = model.block_count
        self.context = model.context_length or 0
        self.embedding = model.embedding_length or 0
        self.feed_forward = model.feed_forward_length or 0
        self.vocabulary = model.vocab_size or 0
        self.heads = list(model.head_count or [1] * self.blocks)
        self.kv_heads = list(model.head_count_kv or [1] * self.blocks)
        self.heads_max, heads_min = max(self.heads or [1]), min(self.heads or [1])
        self.kv_max, self.kv_min = max(self.kv_heads or [1]), min(self.kv_heads or [1])
        # embedding_head_count_max: width / heads, also where the header names another key length
        self.head_width = self.embedding // heads_min if heads_min else 0
        self.key = self.head_width if model.key_length is None else model.key_length
        self.value = self.head_width if model.value_length is None else model.value_length
        self.window = model.sliding_window or 0
        self.ssm = model.ssm or {}
        self.block_bytes = [layer.weight_bytes for layer in model.layers]
        embedding_bytes = extra.get("token_embedding_bytes") or model.embedding_bytes or 0
        self.output_bytes = (model.output_bytes or 0) + (embedding_bytes if model.tied_embeddings else 0)
        self.largest_group_bytes = max(self.block_bytes + [embedding_bytes, self.output_bytes])
        self.gate_split_length = extra.get("gate_split_length")
        self.gate_expert_bytes = (
            extra["gate_expert_bytes"] if "gate_expert_bytes" in extra else _third_of_experts(model)
        )
        self.has_experts = bool(model.expert_count or self.gate_expert_bytes or self.gate_split_length)
        self.qkv_bias_length = extra.get("qkv_bias_length")
        self.cross_attention_layers = extra.get("cross_attention_layers") or []
        self.rope_frequencies = extra.get("rope_frequencies") or 0
        self.vision = extra.get("vision") or {}
        capabilities = model.capabilities or []
        self.is_embedding = "embedding" in capabilities and "completion" not in capabilities
        self.sees_images = "vision" in capabilities


def _third_of_experts(model: ModelFacts) -> Optional[int]:
    """Bytes of blk.0.ffn_gate_exps where the header's own figure is not at hand: gate, up and down are alike."""
    if not model.expert_count or not model.layers:
        return None
    return model.layers[0].expert_bytes // 3 or None
