# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is known of a model: the shape that `memory/`, `releases/` and `placement/` work with."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """A model's facts as module model_info returns them, with llama.cpp's defaults filled in (memory/hyperparameters).

    Bytes are integers named `*_bytes`, lengths are tokens or elements, what the header does not say is None.
    `head_count` and `head_count_kv` are lists of `block_count` integers; `layers` is a list of one dictionary a block.
    """

    architecture: Optional[str] = None
    block_count: int = 0
    context_length: Optional[int] = None
    embedding_length: Optional[int] = None
    vocab_size: Optional[int] = None
    name: Optional[str] = None
    source: Optional[str] = None
    digest: Optional[str] = None
    size_bytes: Optional[int] = None
    file_bytes: Optional[int] = None
    parameter_count: Optional[int] = None
    quantization: Optional[str] = None
    feed_forward_length: Optional[int] = None
    head_count: Optional[list] = None
    head_count_kv: Optional[list] = None
    key_length: Optional[int] = None
    value_length: Optional[int] = None
    key_length_mla: Optional[int] = None
    value_length_mla: Optional[int] = None
    kv_lora_rank: Optional[int] = None
    rope_dimension_count: Optional[int] = None
    sliding_window: Optional[int] = None
    sliding_window_pattern: Any = None
    attention_chunk_size: Optional[int] = None
    expert_count: Optional[int] = None
    expert_used_count: Optional[int] = None
    expert_shared_count: Optional[int] = None
    expert_feed_forward_length: Optional[int] = None
    leading_dense_block_count: Optional[int] = None
    full_attention_interval: Optional[int] = None
    shared_kv_layers: Optional[int] = None
    ssm: Optional[dict] = None
    hyperparameters: Optional[dict] = None
    split_count: Optional[int] = None
    tensor_count: Optional[int] = None
    layers: list = dataclasses.field(default_factory=list)
    output_bytes: int = 0
    embedding_bytes: int = 0
    token_embedding_bytes: Optional[int] = None
    projector_bytes: int = 0
    tied_embeddings: Optional[bool] = None
    other_sizes: Optional[dict] = None
    layer_kinds: Optional[list] = None
    layer_sizes: Optional[list] = None
    estimator: Optional[dict] = None
    projector_separate: Optional[bool] = None
    capabilities: Optional[list] = None

    @classmethod
    def of(cls, facts):
        """ModelFacts of a dictionary; keys that are no facts (`modelfile`, `details`, ...) are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in facts.items() if key in known})
