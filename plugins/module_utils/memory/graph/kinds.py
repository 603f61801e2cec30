# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The tensors of every block, by name and shape. Pure.

They are read from the header or, where only dimensions are known, made up as the architecture has them.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from ...model import architecture
from ...model.schema import ModelFacts

Kind = Dict[str, Sequence[int]]  # the tensors of a block: {name without "blk.N.": shape}

_HEAD_NORMS = ("qwen3", "qwen3moe", "gemma3", "lfm2", "lfm2moe", "qwen3vl", "qwen3vlmoe", "hunyuan-moe", "exaone4")
_POST_NORMS = ("gemma2", "gemma3", "glm4", "olmo2", "exaone4")
_NO_FORWARD_NORM = ("gpt-oss", "gptoss", "glm4moe", "seed_oss", "olmo2", "exaone4", "command-r", "cohere2")
_SHARED = ("llama4", "deepseek2", "glm4moe", "qwen2moe", "qwen3next", "hunyuan-moe", "dots1", "bailingmoe")


def kinds_of(model: ModelFacts, heads: bool = False) -> List[Optional[Kind]]:
    """For every block its tensors, None for a block that takes no part; [] if nothing is known.

    Blocks that are alike share one dictionary.

    Args:
        model: the ModelFacts.
        heads: whether those that predict further tokens (nextn) take part, instead of all others.
    """
    layers, known = model.layers, model.layer_kinds
    if known and all(layer.kind is not None for layer in layers):
        found = [known[layer.kind] for layer in layers if layer.kind is not None]
    else:
        found = made_up(model)
    trunk = architecture.trunk_blocks(model)
    return [kind if (index >= trunk) == heads else None for index, kind in enumerate(found)]


class Sizes:
    """Bytes of every weight: the header's, or (where only layers are known) their share of the layer's bytes.

    Args:
        model: the ModelFacts.
        found: its tensors by block, as kinds_of gives them.
    """

    def __init__(self, model: ModelFacts, found: List[Optional[Kind]]) -> None:
        self.model = model
        self.found = found
        known, layers = model.layer_sizes, model.layers
        self.layers = [known[layer.sizes] if known and layer.sizes is not None else {} for layer in layers]
        self.others = model.other_sizes or {}

    def of(self, layer: Optional[int], name: str) -> int:
        """Bytes of a tensor of a block; with `layer` None, or where the block has none, of the whole model."""
        if layer is not None and name in self.layers[layer]:
            return self.layers[layer][name]
        if name in self.others:
            return self.others[name]
        if layer is None:
            # Tied embeddings are there a second time for the output layer; else that is its matrix and a norm.
            tied = self.model.tied_embeddings
            return (self.model.token_embedding_bytes or self.model.embedding_bytes) if tied else self.model.output_bytes
        return self._share(layer, name)

    def _share(self, layer, name):
        """A share of the layer's bytes by elements: experts of the experts' bytes, all other tensors of the rest."""
        entry, kind = self.model.layers[layer], self.found[layer] or {}
        experts = entry.expert_bytes
        ours = "_exps." in name
        alike = [elements(shape) for other, shape in kind.items() if ("_exps." in other) == ours]
        whole = experts if ours else entry.weight_bytes - experts
        return whole * elements(kind.get(name) or ()) // (sum(alike) or 1)

    def mark(self) -> tuple:
        """A hashable mark: models with the same one have weights of the same sizes."""
        numbers = tuple((layer.sizes, layer.weight_bytes, layer.expert_bytes) for layer in self.model.layers)
        whole = tuple(
            getattr(self.model, name)
            for name in ("output_bytes", "embedding_bytes", "token_embedding_bytes", "tied_embeddings")
        )
        known = tuple(tuple(sorted(sizes.items())) for sizes in self.model.layer_sizes or [])
        return numbers, whole, known, tuple(sorted(self.others.items()))


def elements(shape: Sequence[int]) -> int:
    """Number of values of a tensor; 0 for one that is not there."""
    total = 1 if shape else 0
    for length in shape:
        total *= length
    return total


def mark(model: ModelFacts, found: List[Optional[Kind]]) -> tuple:
    """A hashable mark: models with the same one have the same graph."""
    numbers: Dict[int, int] = {}
    order = tuple(numbers.setdefault(id(kind), len(numbers)) for kind in found)
    distinct = {id(kind): kind for kind in found}
    shapes = tuple(
        tuple(sorted((name, tuple(shape)) for name, shape in (distinct[key] or {}).items())) for key in numbers
    )
    names = (
        "architecture",
        "block_count",
        "embedding_length",
        "vocab_size",
        "key_length",
        "value_length",
        "key_length_mla",
        "value_length_mla",
        "kv_lora_rank",
        "rope_dimension_count",
        "sliding_window",
        "attention_chunk_size",
        "expert_count",
        "expert_used_count",
        "full_attention_interval",
        "shared_kv_layers",
    )
    plain = tuple(getattr(model, name) for name in names)
    lists = tuple(
        repr(getattr(model, name))
        for name in (
            "head_count",
            "head_count_kv",
            "sliding_window_pattern",
            "ssm",
            "hyperparameters",
            "feed_forward_length",
            "adapters",  # every matrix that an adapter changes is multiplied twice more
        )
    )
    return order, shapes, plain, lists


def made_up(model: ModelFacts) -> List[Kind]:
    """Tensors of the blocks of an attention model from its dimensions alone; [] where those are not enough."""
    width, heads = model.embedding_length, model.head_count
    if (
        not width
        or not heads
        or not model.key_length
        or model.ssm
        or architecture.hyperparameter(model, "shortconv.l_cache")
    ):
        return []
    keys = [_key(model, index) for index in range(model.block_count)]
    shared = {key: _kind(model, key) for key in set(keys)}  # blocks that are alike are one object
    return [shared[key] for key in keys]


def _key(model, index):
    forward = model.feed_forward_length
    forward = forward[index] if isinstance(forward, (list, tuple)) else forward
    dense = not model.expert_count or index < (model.leading_dense_block_count or 0)
    step = architecture.hyperparameter(model, "interleave_moe_layer_step") or 1
    dense = dense or (index + 1) % step != 0
    heads_kv = (model.head_count_kv or model.head_count)[index]
    return model.head_count[index], heads_kv, architecture.head_sizes(model, index), forward or 0, dense


def _kind(model, key):
    """The tensors of a block with these heads and this feed-forward width."""
    forward, dense = key[3:]
    name, width = model.architecture, model.embedding_length
    kind = _attention(model, key)
    if name not in _NO_FORWARD_NORM:
        kind["ffn_norm.weight"] = [width]
    if name in _POST_NORMS or name in _NO_FORWARD_NORM and name not in ("command-r", "cohere2"):
        kind["post_attention_norm.weight"] = [width]
    if name in _POST_NORMS:
        kind["post_ffw_norm.weight"] = [width]
    if not dense:
        kind.update(_experts(model, forward))
    elif name in ("phi3", "glm4"):
        kind.update({"ffn_up.weight": [width, 2 * forward], "ffn_down.weight": [forward, width]})
    else:
        kind.update(_forward("", width, forward))
    return kind


def _attention(model, key):
    heads, heads_kv, (size, value_size) = key[:3]
    name, width = model.architecture, model.embedding_length
    kind = {"attn_norm.weight": [width], "attn_output.weight": [heads * value_size, width]}
    if name in ("olmo2", "exaone4"):
        del kind["attn_norm.weight"]
    if model.kv_lora_rank:
        kind.update(_latent(model, heads, size, value_size))
    elif name == "phi3":
        kind["attn_qkv.weight"] = [width, heads * size + heads_kv * (size + value_size)]
    else:
        kind["attn_q.weight"] = [width, heads * size]
        kind["attn_k.weight"] = [width, heads_kv * size]
        kind["attn_v.weight"] = [width, heads_kv * value_size]
    if name in _HEAD_NORMS:
        kind.update({"attn_q_norm.weight": [size], "attn_k_norm.weight": [size]})
    return kind


def _forward(suffix, width, inner):
    """Gate, up and down of a feed-forward part."""
    return {
        "ffn_gate%s.weight" % suffix: [width, inner],
        "ffn_up%s.weight" % suffix: [width, inner],
        "ffn_down%s.weight" % suffix: [inner, width],
    }


def _experts(model, forward):
    """A mixture of experts, with the one that every token passes where the architecture has it."""
    name, width = model.architecture, model.embedding_length
    count, inner = model.expert_count, model.expert_feed_forward_length or forward
    kind = {"ffn_gate_inp.weight": [width, count]}
    kind.update((part, shape + [count]) for part, shape in _forward("_exps", width, inner).items())
    if name in architecture.GPT_OSS:
        kind.update({"ffn_%s.bias" % part: [count] for part in ("gate_inp", "gate_exps", "up_exps", "down_exps")})
    if name in _SHARED if model.expert_shared_count is None else model.expert_shared_count:
        wide = architecture.hyperparameter(model, "expert_shared_feed_forward_length") or inner * (
            architecture.hyperparameter(model, "expert_shared_count") or 1
        )
        kind.update(_forward("_shexp", width, wide))
    return kind


def _latent(model, heads, size, value_size):
    width, rank, rope = model.embedding_length, model.kv_lora_rank, model.rope_dimension_count or 64
    kind = {"attn_kv_a_mqa.weight": [width, rank + rope]}
    key, value = size, value_size
    if model.key_length_mla:
        key, value = model.key_length_mla, model.value_length_mla
        kind.update({"attn_k_b.weight": [key - rope, rank, heads], "attn_v_b.weight": [rank, value, heads]})
    else:
        kind["attn_kv_b.weight"] = [rank, heads * (key - rope + value)]
    kind["attn_output.weight"] = [heads * value, width]
    query_rank = architecture.hyperparameter(model, "attention.q_lora_rank") or (1536 if width >= 5120 else 0)
    if query_rank:
        kind.update({"attn_q_a.weight": [width, query_rank], "attn_q_b.weight": [query_rank, heads * key]})
    else:
        kind["attn_q.weight"] = [width, heads * key]
    return kind
