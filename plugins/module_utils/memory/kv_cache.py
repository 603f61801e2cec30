# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""KV cache: exact bytes per layer for full, sliding-window and chunked attention, and recurrent state.

Source: llama.cpp src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp and the hyperparameters
set per architecture in src/models; sizes confirmed against the engine's dry run (build 11669).
"""

from __future__ import annotations

PADDING = 256  # cells; llama.cpp pads the cells of a stream to this number

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
DEFAULT_CACHE_TYPE = "f16"

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


def pad(cells, padding=PADDING):
    """Round up to a multiple of the padding."""
    return -(-cells // padding) * padding


def row_bytes(cache_type, elements):
    """Bytes of one row of `elements` values in a cache type.

    Raises:
        ValueError: unknown type, or a row that the type's blocks do not divide (the engine refuses it as well).
    """
    if cache_type not in CACHE_TYPES:
        raise ValueError("KV cache type '%s' is unknown; use one of %s." % (cache_type, ", ".join(sorted(CACHE_TYPES))))
    block, size = CACHE_TYPES[cache_type]
    if elements % block:
        raise ValueError("KV cache type '%s' has blocks of %d elements, which do not divide a row of %d; use f16." % (cache_type, block, elements))
    return elements // block * size


def window_tokens(model):
    """Tokens that a windowed (or chunked) layer looks back, or None where the model has no such layers."""
    architecture = model["architecture"]
    if architecture == "llama4":
        return model.get("attention_chunk_size") or DEFAULT_CHUNK
    if architecture not in WINDOW_PATTERNS:
        return None  # llama.cpp reads the window of these architectures only (phi3 names one and gets full attention)
    return model.get("sliding_window") or None


def windowed_layers(model):
    """For each block, whether its attention is windowed: list of block_count booleans.

    The header's own pattern wins (list or period); otherwise the table of architectures. An architecture that is not
    in the table counts as full attention everywhere, which can only over-predict.
    """
    count = model["block_count"]
    if window_tokens(model) is None:
        return [False] * count
    pattern = model.get("sliding_window_pattern")
    if isinstance(pattern, (list, tuple)) and len(pattern) >= count:
        return [bool(value) for value in pattern[:count]]
    if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
        period, full = pattern, pattern - 1
    else:
        period, full = WINDOW_PATTERNS[model["architecture"]]
    return [index % period != full for index in range(count)]


def cells(context_length, parallel, ubatch, window=None):
    """Cells of one layer's cache: (cells of a stream, number of streams).

    Args:
        context_length: tokens of one slot (one request); the engine gets context_length * parallel.
        parallel: number of slots, each a stream of its own (Ollama never passes --kv-unified).
        ubatch: physical batch, tokens.
        window: tokens a windowed layer looks back, or None for full attention.
    """
    full = pad(context_length)
    if window is None:
        return full, parallel
    return pad(min(full, window + ubatch)), parallel


def recurrent_layers(model):
    """For each block, whether it keeps recurrent state: list of block_count booleans.

    State-space models without attention keep it in every block, falcon-h1 beside attention in every block, the other
    hybrids in the blocks without KV heads or, with `full_attention_interval`, in all but each n-th block.
    """
    count = model["block_count"]
    if not model.get("ssm"):
        return [False] * count
    interval = model.get("full_attention_interval")
    if interval:
        return [(index + 1) % interval != 0 for index in range(count)]
    if model["architecture"] in ("mamba", "mamba2", "falcon-h1"):
        return [True] * count
    # A block of a hybrid that is neither (nemotron_h has plain feed-forward blocks) is counted as recurrent: its
    # state is small and an over-prediction harmless.
    return [heads == 0 for heads in model["head_count_kv"]]


def attention_width(model, index):
    """(elements of a K row, elements of a V row) that block `index` caches for one token; (0, 0) without attention."""
    if model.get("kv_lora_rank") and model.get("key_length_mla"):
        # Multi-head latent attention keeps the compressed row and the rotary part, and no V.
        return model["kv_lora_rank"] + (model.get("rope_dimension_count") or 0), 0
    heads = model["head_count_kv"][index]
    if model.get("full_attention_interval") and recurrent_layers(model)[index]:
        heads = 0
    return heads * model["key_length"], heads * model["value_length"]


def state_bytes(model):
    """Bytes of recurrent state of one block for one sequence: convolution and state-space state, both f32."""
    ssm = model["ssm"]
    inner = ssm.get("inner_size") or 0
    state = ssm.get("state_size") or 0
    groups = ssm.get("group_count") or 0
    convolution = max((ssm.get("conv_kernel") or 1) - 1, 0) * (inner + 2 * groups * state)
    return 4 * (convolution + state * inner)


def kv_by_layer(model, context_length, parallel=1, ubatch=512, cache_type=DEFAULT_CACHE_TYPE, cache_type_v=None):
    """Bytes of KV cache (and recurrent state) of every block.

    Args:
        model: dict of model_info.
        context_length: tokens of one slot.
        parallel: number of slots.
        ubatch: physical batch, tokens; windowed layers keep that many cells beyond their window.
        cache_type, cache_type_v: names of CACHE_TYPES; the V type defaults to the K type, as Ollama sets both.

    Returns:
        list of block_count integers (bytes). The output layer has none.

    Raises:
        ValueError: cache type unknown or not dividing a row.
    """
    windowed = windowed_layers(model)
    recurrent = recurrent_layers(model)
    window = window_tokens(model)
    reusing = model["block_count"] - (model.get("shared_kv_layers") or 0)
    sizes = []
    for index in range(model["block_count"]):
        size = 0
        keys, values = attention_width(model, index)
        if index < reusing and (keys or values):
            stream, streams = cells(context_length, parallel, ubatch, window if windowed[index] else None)
            size += stream * streams * (row_bytes(cache_type, keys) + row_bytes(cache_type_v or cache_type, values))
        if recurrent[index]:
            size += parallel * state_bytes(model)
        sizes.append(size)
    return sizes
