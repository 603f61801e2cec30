# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""KV cache: exact bytes per layer for full, sliding-window and chunked attention, and recurrent state.

Source: llama.cpp src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp and the hyperparameters
set per architecture in src/models; sizes confirmed against the engine's dry run (build 11669).
"""

from __future__ import annotations

from .load import pad

# Elements of a block and bytes of a block, by the name that --cache-type-k takes (ggml.c type traits).
CACHE_TYPES = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}

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


def row_bytes(cache_type, elements):
    """Bytes of one row of `elements` values in a cache type.

    Raises:
        ValueError: unknown type, or a row that the type's blocks do not divide (the engine refuses it as well).
    """
    if cache_type not in CACHE_TYPES:
        raise ValueError("KV cache type '%s' is unknown; use one of %s." % (cache_type, ", ".join(sorted(CACHE_TYPES))))
    block, size = CACHE_TYPES[cache_type]
    if elements % block:
        raise ValueError(
            "KV cache type '%s' has blocks of %d elements, which do not divide a row of %d; use f16."
            % (cache_type, block, elements)
        )
    return elements // block * size


def window_tokens(model):
    """Tokens that a windowed (or chunked) layer looks back, or None where the model has no such layers."""
    architecture = model.architecture
    if architecture == "llama4":
        return model.attention_chunk_size or DEFAULT_CHUNK
    if architecture not in WINDOW_PATTERNS:
        return None  # llama.cpp reads the window of these architectures only (phi3 names one and gets full attention)
    return model.sliding_window or None


def windowed_layers(model):
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


def cells(load, window=None):
    """Cells of one layer's cache.

    Args:
        load: the Load.
        window: tokens that a windowed layer looks back, or None for full attention. A windowed layer keeps a window for
            each slot of its stream, but the cells of the batch only once (src/llama-kv-cache-iswa.cpp).

    Returns:
        (cells of one stream, number of streams).
    """
    full, streams = load.cells, load.streams
    if window is None:
        return full, streams
    return pad(min(full, window * load.parallel // streams + load.batch)), streams


def recurrent_layers(model):
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
        return [(index + 1) % interval != 0 for index in range(count)]
    if model.architecture in STATE_ONLY or model.architecture == "falcon-h1":
        return [True] * count
    widths = hyperparameter(model, "feed_forward_length")
    if model.architecture.startswith("nemotron_h") and isinstance(widths, list) and len(widths) >= count:
        return [heads == 0 and width == 0 for heads, width in zip(model.head_count_kv, widths)]
    return [heads == 0 for heads in model.head_count_kv]


def hyperparameter(model, name):
    """A hyperparameter of the header by its name without the architecture ("attention.kv_lora_rank"), or None.

    model_info keeps those that have a name of their own beside the rest.
    """
    value = (model.hyperparameters or {}).get(name)
    if value is None and name in _OWN_NAMES:
        value = getattr(model, _OWN_NAMES[name], None)
    if value is None and name.startswith("ssm."):
        value = (model.ssm or {}).get(name[4:])
    return value


_OWN_NAMES = {
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.key_length_mla": "key_length_mla",
    "attention.value_length_mla": "value_length_mla",
    "rope.dimension_count": "rope_dimension_count",
}


def trunk_blocks(model):
    """Number of blocks that take part: those for predicting further tokens (nextn) are loaded but hold no cache."""
    return model.block_count - (hyperparameter(model, "nextn_predict_layers") or 0)


def head_sizes(model, index):
    """(elements of a key, of a value) of one head in block `index`; windowed blocks of gemma4 have sizes of their own."""
    key, value = model.key_length or 0, model.value_length or 0
    if windowed_layers(model)[index]:
        key = hyperparameter(model, "attention.key_length_swa") or key
        value = hyperparameter(model, "attention.value_length_swa") or value
    return key, value


def cache_owner(model, index):
    """The block whose cache block `index` uses: its own, or (gemma3n, gemma4) the last one of its kind before the shared blocks.

    Source: llama.cpp src/llama-model.cpp `create_memory`: a block without KV reuses the last but one (windowed) or last (full) block that has it.
    """
    first = model.block_count - shared_blocks(model)
    if index < first:
        return index
    return first - (2 if windowed_layers(model)[index] else 1)


def shared_blocks(model):
    """Blocks at the end that use the cache of an earlier one."""
    if model.architecture == "gemma3n":
        return max(
            model.block_count - GEMMA3N_OWN_CACHES, 0
        )  # the engine does not read the header here (src/models/gemma3n.cpp)
    return model.shared_kv_layers or 0


GEMMA3N_OWN_CACHES = 20


def attention_width(model, index):
    """(elements of a K row, elements of a V row) that block `index` caches for one token; (0, 0) without attention."""
    if model.kv_lora_rank and model.key_length_mla:
        # Multi-head latent attention keeps the compressed row and the rotary part, and no V.
        # Sparse attention (deepseek32) keeps the keys of its indexer beside it (src/llama-kv-cache-dsa.cpp).
        indexer = hyperparameter(model, "attention.indexer.key_length") if model.architecture in INDEXED else 0
        return model.kv_lora_rank + (model.rope_dimension_count or 0) + (indexer or 0), 0
    heads = (model.head_count_kv or [0] * model.block_count)[index]
    if model.architecture in STATE_ONLY or full_attention_interval(model) and recurrent_layers(model)[index]:
        heads = 0
    key, value = head_sizes(model, index)
    return heads * key, heads * value


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
INDEXED = ("deepseek32", "glm-dsa")
STATE_ONLY = ("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7")


def full_attention_interval(model):
    """Every n-th block has attention, the others recurrent state (qwen3next, qwen35: 4 where the header does not say); None elsewhere."""
    if model.architecture in ("qwen3next", "qwen35", "qwen35moe"):
        return model.full_attention_interval or 4
    return model.full_attention_interval


def state_elements(model):
    """(elements of the convolution state, of the recurrent state) of one block for one sequence, 32 bit floats.

    Source: llama.cpp src/llama-hparams.cpp `n_embd_r`, `n_embd_s`.
    """
    convolution = hyperparameter(model, "shortconv.l_cache")
    if convolution:
        return model.embedding_length * (convolution - 1), 0
    head = hyperparameter(model, "wkv.head_size")
    if head:
        return (hyperparameter(model, "token_shift_count") or 2) * model.embedding_length, model.embedding_length * head
    ssm = model.ssm or {}
    inner = ssm.get("inner_size") or 0
    state = ssm.get("state_size") or 0
    groups = ssm.get("group_count") or 0
    return max((ssm.get("conv_kernel") or 1) - 1, 0) * (inner + 2 * groups * state), state * inner


def state_bytes(model):
    """Bytes of recurrent state of one block for one sequence."""
    return 4 * sum(state_elements(model))


def widest_value(model):
    """Elements of the widest V row of any block, or 0 where all blocks have the same (llama-kv-cache.cpp TAG_V_CACHE_VARIABLE)."""
    widths = set(attention_width(model, index)[1] for index, state in enumerate(recurrent_layers(model)) if not state)
    return max(widths) if len(widths) > 1 else 0


def kv_by_layer(model, load):
    """Bytes of KV cache (and recurrent state) of every block.

    Args:
        model: the ModelFacts.
        load: the Load. Without flash attention V is kept transposed, and then every block's V is as wide as the widest.
            Recurrent states are one per slot, also where the slots share one stream.

    Returns:
        list of block_count integers (bytes). The output layer has none.

    Raises:
        ValueError: cache type unknown or not dividing a row.
    """
    if model.architecture in UNCACHED:
        return [0] * model.block_count
    windowed = windowed_layers(model)
    recurrent = recurrent_layers(model)
    window = window_tokens(model)
    reusing = model.block_count - shared_blocks(model)
    trunk = trunk_blocks(model)
    sizes = []
    widest = 0 if load.flash_attention else widest_value(model)
    for index in range(model.block_count):
        size = 0
        keys, values = attention_width(model, index)
        if widest and not recurrent[index] and (values or not model.ssm):
            values = widest
        if index < min(reusing, trunk) and (keys or values):
            stream, streams = cells(load, window if windowed[index] else None)
            size += stream * streams * (row_bytes(load.cache_type, keys) + row_bytes(load.value_type, values))
        if recurrent[index] and index < trunk:
            size += load.parallel * state_bytes(model)
        sizes.append(size)
    return sizes
