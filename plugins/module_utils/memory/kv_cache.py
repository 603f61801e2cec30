# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""KV cache: exact bytes per layer for full, sliding-window and chunked attention, and recurrent state. Pure.

Source: llama.cpp src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp; sizes confirmed against
the engine's dry run (build 11669).
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from ..model import architecture
from ..model.schema import ModelFacts
from .load import HEADS, Load, pad

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


def row_bytes(cache_type: str, elements: int) -> int:
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


def cells(load: Load, window: Optional[int] = None) -> Tuple[int, int]:
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


def attention_width(model: ModelFacts, index: int) -> Tuple[int, int]:
    """(elements of a K row, elements of a V row) that block `index` caches for one token; (0, 0) without attention."""
    if model.kv_lora_rank and model.key_length_mla:
        # Multi-head latent attention keeps the compressed row and the rotary part, and no V.
        # Sparse attention (deepseek32) keeps the keys of its indexer beside it (src/llama-kv-cache-dsa.cpp).
        indexer = (
            architecture.hyperparameter(model, "attention.indexer.key_length")
            if model.architecture in architecture.INDEXED
            else 0
        )
        return model.kv_lora_rank + (model.rope_dimension_count or 0) + (indexer or 0), 0
    heads = (model.head_count_kv or [0] * model.block_count)[index]
    if (
        model.architecture in architecture.STATE_ONLY
        or architecture.full_attention_interval(model)
        and architecture.recurrent_layers(model)[index]
    ):
        heads = 0
    key, value = architecture.head_sizes(model, index)
    return heads * key, heads * value


def has_rows(model: ModelFacts) -> bool:
    """Whether any block caches keys or values: not in models of states alone, nor in those that embed only."""
    blocks = 0 if model.architecture in architecture.UNCACHED else model.block_count
    return any(any(attention_width(model, index)) for index in range(blocks))


def state_elements(model: ModelFacts) -> Tuple[int, int]:
    """(elements of the convolution state, of the recurrent state) of one block for one sequence, 32 bit floats.

    Source: llama.cpp src/llama-hparams.cpp `n_embd_r`, `n_embd_s`.
    """
    convolution = architecture.hyperparameter(model, "shortconv.l_cache")
    if convolution:
        return model.embedding_length * (convolution - 1), 0
    head = architecture.hyperparameter(model, "wkv.head_size")
    if head:
        return (
            architecture.hyperparameter(model, "token_shift_count") or 2
        ) * model.embedding_length, model.embedding_length * head
    ssm = model.ssm or {}
    inner = ssm.get("inner_size") or 0
    state = ssm.get("state_size") or 0
    groups = ssm.get("group_count") or 0
    return max((ssm.get("conv_kernel") or 1) - 1, 0) * (inner + 2 * groups * state), state * inner


def state_bytes(model: ModelFacts) -> int:
    """Bytes of recurrent state of one block for one sequence."""
    return 4 * sum(state_elements(model))


def states_of_slot(model: ModelFacts, load: Load) -> int:
    """Recurrent states that a block keeps for a slot: one, and one more for each token that heads propose.

    A state cannot be cut back where a proposed token is not taken. Not every architecture has them in its graph (the
    log says "model does not support recurrent partial rollback"), and with a draft llama-server keeps copies on the
    host instead. Source: `n_rs_seq` in src/llama-context.cpp; llama-server of build 11669.
    """
    return 1 + (load.drafted if load.speculation == HEADS and model.architecture in architecture.ROLLED_BACK else 0)


def widest_value(model: ModelFacts) -> int:
    """Elements of the widest V row of any block, or 0 where all blocks have the same.

    Source: llama.cpp src/llama-kv-cache.cpp, TAG_V_CACHE_VARIABLE.
    """
    widths = set(
        attention_width(model, index)[1]
        for index, state in enumerate(architecture.recurrent_layers(model))
        if not state
    )
    return max(widths) if len(widths) > 1 else 0


def kv_by_layer(model: ModelFacts, load: Load) -> List[int]:
    """Bytes of KV cache (and recurrent state) of every block.

    Args:
        model: the ModelFacts.
        load: the Load. Without flash attention V is kept transposed, and then every block's V is as wide as the widest.
            Recurrent states belong to slots, also where the slots share one stream.

    Returns:
        list of block_count integers (bytes). The output layer has none.

    Raises:
        ValueError: cache type unknown or not dividing a row.
    """
    if model.architecture in architecture.UNCACHED:
        return [0] * model.block_count
    recurrent = architecture.recurrent_layers(model)
    reusing = model.block_count - architecture.shared_blocks(model)
    trunk = architecture.trunk_blocks(model)
    sizes = []
    widest = 0 if load.flash_attention else widest_value(model)
    cached = _attention_by_width(model, load, widest, min(reusing, trunk))
    state = states_of_slot(model, load) * load.parallel * state_bytes(model)
    for index in range(model.block_count):
        size = cached[index] if index < len(cached) else 0
        if recurrent[index] and index < trunk:
            size += state
        sizes.append(size)
    return sizes


def _attention_by_width(model: ModelFacts, load: Load, widest: int, count: int) -> List[int]:
    """attention_bytes of the first `count` blocks. Blocks that are alike are worked out once: a search asks often."""
    windowed, recurrent = architecture.windowed_layers(model), architecture.recurrent_layers(model)
    heads = model.head_count_kv or [0] * model.block_count
    known: Dict[Tuple[int, bool, bool], int] = {}
    sizes = []
    for index in range(count):
        key = (heads[index], windowed[index], recurrent[index])
        if key not in known:
            known[key] = attention_bytes(model, load, index, widest)
        sizes.append(known[key])
    return sizes


def attention_bytes(model: ModelFacts, load: Load, index: int, widest: int = 0) -> int:
    """Bytes of K and V of one block; 0 where it has no attention.

    Args:
        model: the ModelFacts.
        load: the Load.
        index: the block.
        widest: elements of the widest V row, where every block's V is as wide as that.
    """
    keys, values = attention_width(model, index)
    if widest and not architecture.recurrent_layers(model)[index] and (values or not model.ssm):
        values = widest
    if not keys and not values:
        return 0
    window = architecture.window_tokens(model) if architecture.windowed_layers(model)[index] else None
    stream, streams = cells(load, window)
    return stream * streams * (row_bytes(load.cache_type, keys) + row_bytes(load.value_type, values))
