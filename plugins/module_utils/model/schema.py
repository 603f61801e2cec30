# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is known of a model: the shape that `memory/`, `releases/` and `placement/` work with. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence


@dataclasses.dataclass(frozen=True)
class Layer:
    """One block of a model.

    Attributes:
        index: its number, from 0.
        weight_bytes: all its weights.
        expert_bytes: its experts' weights; 0 in a dense block.
        ffn_up_bytes, ffn_gate_bytes, ffn_down_bytes: weights that llama.cpp's patterns of these names match; None where
            only `expert_bytes` is known.
        kind: number of its tensors' shapes in ModelFacts.layer_kinds, or None.
        sizes: number of its tensors' bytes in ModelFacts.layer_sizes, or None.
    """

    index: int = 0
    weight_bytes: int = 0
    expert_bytes: int = 0
    ffn_up_bytes: Optional[int] = None
    ffn_gate_bytes: Optional[int] = None
    ffn_down_bytes: Optional[int] = None
    kind: Optional[int] = None
    sizes: Optional[int] = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Layer:
        """The Layer of a dictionary as model_info returns it."""
        known = {key: value for key, value in entry.items() if key in _LAYER_KEYS}
        known["expert_bytes"] = known.get("expert_bytes") or 0
        return cls(**known)


_LAYER_KEYS = frozenset(field.name for field in dataclasses.fields(Layer))


@dataclasses.dataclass(frozen=True)
class Adapter:
    """A LoRA adapter of a manifest, which the engine loads with the model (`--lora`).

    llama.cpp puts each of its tensors beside the one that it changes (src/llama-adapter.cpp,
    `llama_adapter_lora_init_impl`).

    Attributes:
        digest: of its file, or None where the source does not say it.
        size_bytes: of its file.
        layer_bytes: bytes of its tensors by the block that they change.
        other_bytes: bytes of the tensors that change the output layer or a tensor that is placed with it.
        embedding_bytes: bytes of the tensors that change the token embedding, which stays in the host's memory.
        rank: the largest rank of its matrices; 0 where it has none.
    """

    digest: Optional[str] = None
    size_bytes: int = 0
    layer_bytes: Dict[int, int] = dataclasses.field(default_factory=dict)
    other_bytes: int = 0
    embedding_bytes: int = 0
    rank: int = 0

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Adapter:
        """The Adapter of a dictionary as model_info returns it; JSON has the blocks' numbers as text."""
        known = {key: value for key, value in entry.items() if key in _ADAPTER_KEYS}
        known["layer_bytes"] = {int(block): size for block, size in (known.get("layer_bytes") or {}).items()}
        return cls(**known)


_ADAPTER_KEYS = frozenset(field.name for field in dataclasses.fields(Adapter))


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """A model's facts as module model_info returns them; hyperparameters.complete fills in llama.cpp's defaults.

    Bytes are integers named `*_bytes`, lengths are tokens or elements, what the header does not say is None.

    Attributes:
        architecture, context_length, embedding_length, vocab_size, head_count, head_count_kv, key_length,
            value_length: None only until they have been checked (placement/ask/model_facts.py).
        head_count, head_count_kv: one number per block.
        layers: one Layer per block.
        layer_kinds: the distinct blocks: shapes of their tensors by name without "blk.N.".
        layer_sizes: the same for the bytes of their matrices.
        other_sizes: bytes of tensors that belong to no block, by name.
        hyperparameters: the header's own, by name without the architecture.
        headers: `header_bytes` and `header_sha256` of each header that the facts come from, in the order of
            ollama.manifest.Manifest.with_headers; None from a server, which does not show them.
        registry_digest: the manifest digest that the registry has under the name now, where the facts are those of
            another model of that name, which is on the host.
        parameters: the model's own parameters (the manifest's params layer), which act on every load of it; None where
            it has none.
        adapters: its LoRA adapters, in the order of the manifest; [] where it has none.
        draft: the facts of its draft model (the manifest's draft layer), or None.
        own_file: of a GGUF file of the user what its manifest says (ollama/own_file.py, without kind and where); None
            for a model of a registry.
        estimator: what only the estimators of releases before 0.30 read (gguf/estimator.py).
    """

    architecture: str = None  # type: ignore[assignment]
    block_count: int = 0
    context_length: int = None  # type: ignore[assignment]
    embedding_length: int = None  # type: ignore[assignment]
    vocab_size: int = None  # type: ignore[assignment]
    head_count: List[int] = None  # type: ignore[assignment]
    head_count_kv: List[int] = None  # type: ignore[assignment]
    key_length: int = None  # type: ignore[assignment]
    value_length: int = None  # type: ignore[assignment]
    name: Optional[str] = None
    source: Optional[str] = None
    digest: Optional[str] = None
    size_bytes: Optional[int] = None
    file_bytes: Optional[int] = None
    parameter_count: Optional[int] = None
    quantization: Optional[str] = None
    feed_forward_length: Any = None
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
    ssm: Optional[Dict[str, Any]] = None
    hyperparameters: Optional[Dict[str, Any]] = None
    split_count: Optional[int] = None
    tensor_count: Optional[int] = None
    layers: List[Layer] = dataclasses.field(default_factory=list)
    output_bytes: int = 0
    embedding_bytes: int = 0
    token_embedding_bytes: Optional[int] = None
    projector_bytes: int = 0
    tied_embeddings: Optional[bool] = None
    other_sizes: Optional[Dict[str, int]] = None
    layer_kinds: Optional[List[Dict[str, Sequence[int]]]] = None
    layer_sizes: Optional[List[Dict[str, int]]] = None
    estimator: Optional[Dict[str, Any]] = None
    projector_separate: Optional[bool] = None
    capabilities: Optional[List[str]] = None
    headers: Optional[List[Dict[str, Any]]] = None
    registry_digest: Optional[str] = None
    own_file: Optional[Dict[str, Any]] = None
    parameters: Optional[Dict[str, Any]] = None
    adapters: List[Adapter] = dataclasses.field(default_factory=list)
    draft: Optional[ModelFacts] = None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> ModelFacts:
        """ModelFacts of a dictionary; keys that are no facts (`modelfile`, `details`, ...) are left out."""
        known = {key: value for key, value in facts.items() if key in _FACTS}
        if isinstance(known.get("layers"), (list, tuple)):
            known["layers"] = [Layer.of(one) if isinstance(one, Mapping) else one for one in known["layers"]]
        known["adapters"] = [
            Adapter.of(one) if isinstance(one, Mapping) else one for one in known.get("adapters") or ()
        ]
        if isinstance(known.get("draft"), Mapping):
            known["draft"] = cls.of(known["draft"])
        return cls(**known)


_FACTS = frozenset(field.name for field in dataclasses.fields(ModelFacts))
