# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a header says of a model's blocks, as llama.cpp reads it: windows, recurrent blocks, shared caches. Pure.

Source: the hyperparameters set per architecture in llama.cpp src/models and src/llama-model.cpp, build 11669.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from .schema import ModelFacts

# Windowed layers where the header does not spell the pattern out: (period, offset of the full layers in it).
# Layer i is full when i % period == offset; every other layer is windowed. Source: `set_swa_pattern` calls in
# llama.cpp src/models (period n, full layers last: offset n - 1; "dense first": offset 0).
WINDOW_PATTERNS = {
    "llama4": (4, 3),
    "gemma2": (2, 1),
    "gemma3": (6, 5),
    "gemma3n": (5, 4),
    "gemma4": (6, 5),
    "gemma-embedding": (6, 5),
    "gpt-oss": (2, 1),
    "gptoss": (2, 1),
    "cohere2": (4, 3),
    "olmo2": (4, 3),
    "exaone4": (4, 3),
    "exaone-moe": (4, 3),
    "smallthinker": (4, 0),
    "modern-bert": (3, 0),
    "afmoe": (4, 3),
}
DEFAULT_CHUNK = 8192  # llama4 headers without attention.chunk_size (llama.cpp src/models/llama4.cpp)
# Encoders of embedding models see a whole text at once: nothing is cached (src/llama-model.cpp `create_memory`).
UNCACHED = (
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "eurobert",
    "gemma-embedding",
)
# Recurrent blocks that keep states of the last tokens, to go back to one of them (src/llama-context.cpp `n_rs_seq`).
ROLLED_BACK = ("qwen35", "qwen35moe", "nemotron_h", "nemotron_h_moe", "lfm2", "lfm2moe")
GPT_OSS = ("gpt-oss", "gptoss")  # llama.cpp's name and Ollama's
INDEXED = ("deepseek32", "glm-dsa")  # sparse attention, with an indexer that chooses the cells
STATE_ONLY = ("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7")  # recurrent state and no attention
GEMMA3N_OWN_CACHES = 20
_OWN_NAMES = {
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.key_length_mla": "key_length_mla",
    "attention.value_length_mla": "value_length_mla",
    "rope.dimension_count": "rope_dimension_count",
}


def hyperparameter(model: ModelFacts, name: str) -> Any:
    """A hyperparameter of the header by its name without the architecture ("attention.kv_lora_rank"), or None.

    model_info keeps those that have a name of their own beside the rest.
    """
    value = (model.hyperparameters or {}).get(name)
    if value is None and name in _OWN_NAMES:
        value = getattr(model, _OWN_NAMES[name], None)
    if value is None and name.startswith("ssm."):
        value = (model.ssm or {}).get(name[4:])
    return value


def window_tokens(model: ModelFacts) -> Optional[int]:
    """Tokens that a windowed (or chunked) layer looks back, or None where the model has no such layers."""
    architecture = model.architecture
    if architecture == "llama4":
        return model.attention_chunk_size or DEFAULT_CHUNK
    if architecture not in WINDOW_PATTERNS:
        return None  # llama.cpp reads the window of these architectures only (phi3 names one and gets full attention)
    return model.sliding_window or None


def windowed_layers(model: ModelFacts) -> List[bool]:
    """For each block, whether its attention is windowed: list of block_count booleans.

    The header's own pattern wins (list or period); otherwise the table of architectures. An architecture that is not
    in the table counts as full attention everywhere, which can only over-predict.
    """
    count = model.block_count
    if window_tokens(model) is None:
        return [False] * count
    pattern = model.sliding_window_pattern
    if isinstance(pattern, (list, tuple)) and len(pattern) >= count:
        return [bool(value) for value in pattern[:count]]
    if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
        period, full = pattern, pattern - 1
    else:
        period, full = WINDOW_PATTERNS[model.architecture]
    return [index % period != full for index in range(count)]


def recurrent_layers(model: ModelFacts) -> List[bool]:
    """For each block, whether it keeps recurrent state: list of block_count booleans.

    State-space models without attention keep it in every block, falcon-h1 beside attention in every block, the other
    hybrids in the blocks without KV heads (nemotron_h: and without feed-forward width) or, with
    `full_attention_interval`, in all but each n-th block.
    """
    count = model.block_count
    if hyperparameter(model, "wkv.head_size"):
        return [True] * count  # rwkv
    if not model.ssm and not hyperparameter(model, "shortconv.l_cache"):
        return [False] * count
    interval = full_attention_interval(model)
    if interval:
        trunk = trunk_blocks(model)  # heads that predict further tokens have attention
        return [(index + 1) % interval != 0 and index < trunk for index in range(count)]
    if model.architecture in STATE_ONLY or model.architecture == "falcon-h1":
        return [True] * count
    widths = hyperparameter(model, "feed_forward_length")
    if model.architecture.startswith("nemotron_h") and isinstance(widths, list) and len(widths) >= count:
        return [heads == 0 and width == 0 for heads, width in zip(model.head_count_kv, widths)]
    return [heads == 0 for heads in model.head_count_kv]


def full_attention_interval(model: ModelFacts) -> Optional[int]:
    """n where every n-th block has attention and the others recurrent state; None where there is no such rule.

    For qwen3next and qwen35 it is 4 where the header does not say.
    """
    if model.architecture in ("qwen3next", "qwen35", "qwen35moe"):
        return model.full_attention_interval or 4
    return model.full_attention_interval


def trunk_blocks(model: ModelFacts) -> int:
    """Number of blocks that take part: all but those that predict further tokens (nextn)."""
    return model.block_count - (hyperparameter(model, "nextn_predict_layers") or 0)


def head_sizes(model: ModelFacts, index: int) -> Tuple[int, int]:
    """(elements of a key, of a value) of one head in block `index`.

    Windowed blocks of gemma4 have sizes of their own.
    """
    key, value = model.key_length or 0, model.value_length or 0
    if windowed_layers(model)[index]:
        key = hyperparameter(model, "attention.key_length_swa") or key
        value = hyperparameter(model, "attention.value_length_swa") or value
    return key, value


def cache_owner(model: ModelFacts, index: int) -> int:
    """The block whose cache block `index` uses.

    It is its own or (gemma3n, gemma4) that of the last block of its kind before the shared ones. Source: llama.cpp
    src/llama-model.cpp `create_memory`: a block without KV reuses the last but one (windowed) or the last (full) block
    that has it.
    """
    first = model.block_count - shared_blocks(model)
    if index < first:
        return index
    return first - (2 if windowed_layers(model)[index] else 1)


def shared_blocks(model: ModelFacts) -> int:
    """Number of blocks at the end that use the cache of an earlier one."""
    if model.architecture == "gemma3n":
        # The engine does not read the header here (src/models/gemma3n.cpp).
        return max(model.block_count - GEMMA3N_OWN_CACHES, 0)
    return model.shared_kv_layers or 0
