# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers by rules of thumb: for models whose graph cannot be built (compute.py decides). Pure.

llama.cpp allocates one buffer per device for the largest set of values that live at the same time in its part of the
graph (ggml-alloc.c). In rows of ubatch f32 values, with E the embedding width, F the values between the two
feed-forward matrices, Q the width of all query heads, V the vocabulary:

* inside a block, whichever is more:
  - feed-forward: gate, up and their product are 3 F (experts: F of the experts that a token uses, times their number;
    a shared expert keeps one more E), beside 4 E for the residual, its norm and what flows on;
  - experts whose outputs are wider than that: 2 * used * E + 5 E;
  - attention: query and result are 2 Q, beside 4 E; without flash attention also the scores, heads * cells, and one
    more Q;
* on the device with the output layer: the logits V, beside 4 E; of the logits there are as many rows as the engine has
  outputs (Load.outputs), which is one for each slot since Ollama 0.30.1;
* one mask per kind of attention that the device's blocks have: ubatch * cells, f16 with flash attention, else f32.

Several devices with all layers on them work as a pipeline: each input of a device is kept in four copies
(GGML_SCHED_MAX_COPIES), masks as well. Then a device holds 6 E and one Q more, the first another 5 E for the token
embeddings, and the output device V beside 9 E (experts 10 E, shared experts 12 E). With some layers on the host there
is no pipeline, what flows in is freed (2 E less), and the logits are beside one E only, the masks gone.

Found by varying one dimension at a time on the engine's dry run (build 11669), checked on models not used for that.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from ..model import architecture
from ..model.schema import ModelFacts
from . import kv_cache
from .graph.reserve import COPIES
from .graph.tensors import F16, F32
from .load import Load
from .weights import Moved

SHARED_EXPERT = ("llama4", "deepseek2", "glm4moe", "qwen2moe", "qwen3next", "bailingmoe", "dots1", "granitemoe")


def compute_by_device(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    load: Load,
    moved: Optional[Moved] = None,
) -> List[int]:
    """Bytes of the compute buffer of every device.

    Args:
        model: the ModelFacts.
        layer_devices: device index (or None = host) of every layer, as weights.assign_layers gives it.
        device_count: number of devices that the engine sees, those without a layer included.
        load: the Load. Every stream of the KV cache has a mask over all its cells.
        moved: weights that are elsewhere than their layer, as compute.compute_by_device takes it; any switch the
            pipeline off.

    Returns:
        list of device_count integers (bytes); 0 for a device without a layer.
    """
    partial = None in layer_devices
    pipeline = device_count > 1 and not partial and not moved
    row = F32 * load.batch
    width = model.embedding_length
    inner = block_values(model, load)
    if partial:
        inner -= 2 * width  # what flows in is freed once it is used; in a graph of one piece it stays
    if pipeline:
        inner += 6 * width + _pipeline_queries(query_width(model), width, load.cache_type)
    sizes = []
    for index in range(device_count):
        held = [layer for layer, device in enumerate(layer_devices) if device == index]
        if not held:
            sizes.append(0)
            continue
        masks = mask_bytes(model, held, load)
        has_output = held[-1] == model.block_count
        logits = F32 * min(load.batch, load.outputs or load.batch) * model.vocab_size if has_output else 0
        if partial or (moved and held[0] != 0):
            sizes.append(max(row * inner + masks, logits + row * width))
            continue
        live = row * inner
        if has_output:
            live = max(live, logits + row * (_output_rows(model) if pipeline else 4) * width)
        if pipeline and held[0] == 0:
            live += row * 5 * width
        sizes.append(live + (COPIES if pipeline else 1) * masks)
    return sizes


def query_width(model: ModelFacts) -> int:
    """Values of all query heads of a token: Q. With latent attention the queries have the width of the cached row."""
    heads = max(model.head_count)
    if model.kv_lora_rank and model.key_length_mla:
        return heads * (model.kv_lora_rank + (model.rope_dimension_count or 0))
    return heads * model.key_length


def block_values(model: ModelFacts, load: Load) -> int:
    """Values per token that live at the same time inside the widest block."""
    width = model.embedding_length
    queries = query_width(model)
    attention = 2 * queries + 4 * width
    if not load.flash_attention:
        attention += queries + max(model.head_count) * load.cells
    return max(attention, feed_forward_values(model))


def feed_forward_values(model: ModelFacts) -> int:
    """Values per token that live at the same time inside the widest feed-forward part."""
    width = model.embedding_length
    used = model.expert_used_count or 0
    dense = widest(model.feed_forward_length)
    if not (model.expert_count and used):
        return 3 * dense + 4 * width
    expert = model.expert_feed_forward_length or dense
    beside = 5 if has_shared_expert(model) else 4
    values = max(3 * used * expert + beside * width, (2 * used + 5) * width if used > 2 else 0)
    if model.leading_dense_block_count:
        values = max(values, 3 * dense + 4 * width)
    return values


def widest(value: Any) -> int:
    """The largest of a hyperparameter that may be a number, a list of numbers or null."""
    if isinstance(value, (list, tuple)):
        return max(value or [0])
    return value or 0


def has_shared_expert(model: ModelFacts) -> bool:
    """Whether each block has an expert that every token passes (deepseek and llama4 families)."""
    if model.expert_shared_count is not None:
        return bool(model.expert_shared_count)
    return model.architecture in SHARED_EXPERT


def _pipeline_queries(queries, width, cache_type):
    """The Q beside the copies.

    A quantized cache changes the order of allocations: Q then finds a hole of its size.
    """
    if kv_cache.CACHE_TYPES[cache_type][0] == 1 or queries > width:
        return queries
    return 0 if queries == width else width


def _output_rows(model):
    if not model.expert_count:
        return 9
    return 12 if has_shared_expert(model) else 10


def mask_bytes(model: ModelFacts, held: List[int], load: Load) -> int:
    """Bytes of the attention masks for the blocks in `held`: one for full and one for windowed attention."""
    windowed = architecture.windowed_layers(model)
    recurrent = architecture.recurrent_layers(model)
    kinds = {
        windowed[layer]
        for layer in held
        if layer < model.block_count and not (recurrent[layer] and not any(kv_cache.attention_width(model, layer)))
    }
    window = architecture.window_tokens(model)
    cells = sum(kv_cache.cells(load, window if kind else None)[0] for kind in kinds)
    return (F16 if load.flash_attention else F32) * load.batch * cells
