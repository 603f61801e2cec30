# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""KV cache and compute graph as Ollama to 0.24 estimates them: `GraphSize` and `VisionGraphSize` of fs/ggml/ggml.go.

These are Ollama's figures, not the truth (that is memory/): q8_0 counts 1 byte an element and q4_0 half a byte, most
architectures have no window, and flash attention changes nothing but gpt-oss. Read at 0.11.4, 0.11.10, 0.12.10 and
0.24.0. All divisions are of integers and truncate, from left to right.
"""

from __future__ import annotations

import dataclasses

from ...common.sizes import MIB
from ..shapes import Version
from .dimensions import Dimensions

RECURRENT_SINCE = (0, 11, 11)  # from here a layer's own KV heads count, and a layer without heads is a recurrent one
PARALLEL_IN_GRAPH_SINCE = (0, 11, 5)  # from here GraphSize multiplies the context by the slots itself
GEMMA3_WINDOW_SINCE = (0, 6, 3)  # before, every layer of gemma3 counts the whole context
GPT_OSS = ("gptoss", "gpt-oss")
VISION_TOKENS, VISION_TILES = 1601, 4  # mllama's cross attention


def element_bytes(cache_type: str) -> float:
    """Bytes of one cache element as Ollama counts them (`kvCacheBytesPerElement`)."""
    return {"q8_0": 1.0, "q4_0": 0.5}.get(cache_type, 2.0)


@dataclasses.dataclass(frozen=True)
class GraphLoad:
    """What KV cache and graph of a model depend on.

    Attributes:
        context: tokens; of all slots together, up to 0.11.4 too.
        batch: tokens.
        parallel: number of slots.
        cache_type: "", "f16", "q8_0" or "q4_0".
        flash: whether flash attention is on.
    """

    context: int
    batch: int
    parallel: int
    cache_type: str
    flash: bool


def graph_size(dims: Dimensions, load: GraphLoad, version: Version) -> tuple[list[int], int, int]:
    """(KV bytes of every block, partial graph, full graph) of a model.

    Args:
        dims: the model.
        load: how it is loaded.
        version: the Ollama version.

    Returns:
        (list of block_count integers, integer, integer), bytes. A graph of 0 means that the caller's rule applies.
    """
    width = element_bytes(load.cache_type)
    context, batch, parallel = load.context, load.batch, load.parallel
    kv = [_layer_kv(dims, index, context, width, version) for index in range(dims.blocks)]
    plain = sum(kv)
    name = "gptoss" if dims.architecture == "gpt-oss" and version >= PARALLEL_IN_GRAPH_SINCE else dims.architecture
    partial = full = 0
    if name in FORMULAS:
        partial, full = FORMULAS[name](dims, context, batch)
    if name == "mllama":
        for index in dims.cross_attention_layers:
            if index < dims.blocks:
                kv[index] = dims.kv_max * (dims.key + dims.value) * 4 * VISION_TOKENS * VISION_TILES
    elif name == "gemma3" and version >= GEMMA3_WINDOW_SINCE:
        local = parallel * dims.window + batch
        size = int(float(local * (dims.key + dims.value) * dims.kv_max) * width)
        kv = [size if (index + 1) % 6 else kv[index] for index in range(dims.blocks)]
    elif name == "gptoss":
        cell = int(float((dims.key + dims.value) * dims.kv_max) * width)
        kv = [cell * (context if index % 2 else parallel * 4096 + batch) for index in range(dims.blocks)]
        if version < PARALLEL_IN_GRAPH_SINCE:
            full = 4 * dims.heads_max // (dims.kv_min or 1) * plain // 6
            partial = full if version >= (0, 11, 3) else 2 * full
        elif load.flash and version >= (0, 11, 8):
            partial = (4 * parallel + (context >> 10) + 110) * MIB
        else:
            partial = 2 * dims.heads_max // (dims.kv_min or 1) * plain // 6
    return kv, partial, full


def complete_graphs(dims: Dimensions, kv: list[int], partial: int, full: int) -> tuple[list[int], int, int]:
    """What graph_size returns, with the rule for architectures without a formula of their own."""
    if not partial:
        partial = dims.heads_max // (dims.kv_min or 1) * sum(kv) // 6
    return kv, partial, full or partial


def _layer_kv(dims: Dimensions, index: int, context: int, width: float, version: Version) -> int:
    """Bytes of the KV cache of a layer, or of its state where it is a recurrent one."""
    heads = dims.kv_max
    if version >= RECURRENT_SINCE:
        heads = dims.kv_heads[index]
        if not heads or not dims.heads[index]:
            ssm = {name: dims.ssm.get(name) or 0 for name in ("conv_kernel", "inner_size", "state_size", "group_count")}
            convolution = (
                (ssm["conv_kernel"] - 1) * (ssm["inner_size"] + 2 * ssm["group_count"] * ssm["state_size"])
                if ssm["conv_kernel"]
                else 0
            )
            return 4 * (convolution + ssm["state_size"] * ssm["inner_size"])
    return int(float(context * (dims.key + dims.value) * heads) * width)


def _vocabulary_graph(dims: Dimensions) -> int:
    return dims.embedding * dims.vocabulary * 105 // 128


# The formulas of `GraphSize`: (partial graph, full graph), bytes; c tokens of context, b of batch.


def _llama(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h, k, d = dims.embedding, dims.vocabulary, dims.heads_max, dims.kv_max, dims.head_width
    full = max(4 * b * (1 + 4 * e + c * (1 + h)), 4 * b * (e + v))
    partial = 4 * b * e + max(
        4 * b * (1 + e + max(c, e)) + e * e * 9 // 16 + 4 * c * (b * h + d * k),
        4 * b * (e + v) + _vocabulary_graph(dims),
    )
    if dims.gate_expert_bytes:
        partial = max(
            3 * dims.gate_expert_bytes + 4 * b * (2 * dims.feed_forward + k + e + c + d * k),
            4 * (c * b * h + c * d * k + b * 1024 + d * k * b),
        )
    elif dims.gate_split_length:
        g = dims.gate_split_length
        full = 4 * b * (2 + 3 * e + c * (1 + h) + 2 * k + g)
        partial = max(
            4 * b * (3 + d * k + e + c * (1 + h) + g) + (e * e + 3 * e * k * g) * 9 // 16,
            4 * b * (1 + 2 * e + c * (1 + h)) + e * (6 * c * k // h + e * 9 // 16),
        )
    return partial, full


def _mllama(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h, k, p = dims.embedding, dims.vocabulary, dims.heads_max, dims.kv_max, dims.key
    full = max(4 * b * (2 + 3 * e + p * h + c * (1 + h)), 4 * b * (e + v))
    partial = max(
        4 * (b * (2 * e + 1 + c * (1 + h) + p * h) + dims.rope_frequencies + p * c * k),
        4 * b * (e + v) + _vocabulary_graph(dims),
    )
    return partial, full


def _gemma(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h, p = dims.embedding, dims.vocabulary, dims.heads_max, dims.key
    full = max(4 * b * (e + v), 4 * b * (2 + c + c * h + 2 * e + 2 * p * h))
    partial = max(
        4 * e * b + _vocabulary_graph(dims) + 4 * v * b,
        4 * b * (2 * e + 1 + 2 * p * h + c + c * h) + 4 * p * c * 8 + e * p * h * 9 // 16,
    )
    return partial, full


def _gemma3n(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    partial, full = _gemma(dims, c, b)
    return 4 * partial, 4 * full


def _command_r(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h = dims.embedding, dims.vocabulary, dims.heads_max
    full = max(4 * b * (e + v), 4 * b * (2 + 4 * e + c * (1 + h)))
    partial = max(
        4 * b * (e + v) + _vocabulary_graph(dims), 4 * b * (1 + 2 * e + c * (1 + h)) + 4 * e * c + e * e * 9 // 16
    )
    return partial, full


def _qwen2(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h = dims.embedding, dims.vocabulary, dims.heads_max
    full = max(4 * b * (e + v), 4 * b * (1 + 2 * e + c + c * h))
    partial = max(4 * b * (e + v) + _vocabulary_graph(dims), 4 * (b * (1 + 2 * e + c * (1 + h)) + e * (1 + c)))
    return partial, full


def _phi2(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h = dims.embedding, dims.vocabulary, dims.heads_max
    full = max(4 * b * (e + v), 4 * b * (1 + 4 * e + c + c * h))
    partial = max(4 * b * (2 * e + v) + _vocabulary_graph(dims), 4 * b * (2 + 3 * e + c + c * h))
    return partial, full


def _stablelm(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h = dims.embedding, dims.vocabulary, dims.heads_max
    full = 4 * b * (c * (1 + h) + 3 * e + 2)
    return max(4 * b * (v + 2 * e), full), full


def _deepseek2(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, k, p = dims.embedding, dims.vocabulary, dims.kv_max, dims.key
    full = max(4 * b * (3 * e + v), 4 * b * (3 * e + 2 + c * (1 + k) + 2 * p * k))
    partial = max(
        4 * b * (3 * e + v) + _vocabulary_graph(dims),
        4 * b * (2 * e + 1 + 2 * p * k + c + c * k) + 4 * p * c * k + e * p * k * 9 // 16,
    )
    return partial, full


def _chatglm(dims: Dimensions, c: int, b: int) -> tuple[int, int]:
    e, v, h, p = dims.embedding, dims.vocabulary, dims.heads_max, dims.key
    full = 4 * b * (e + v)
    partial = full + _vocabulary_graph(dims)
    bias = dims.qkv_bias_length
    if bias:
        full = max(full, 4 * b * (2 + 2 * e + c + c * h + p * h + bias))
        partial = max(partial, 4 * b * (1 + 2 * e + p * h + c + c * h) + 8 * p * c + 4 * bias)
    return partial, full


FORMULAS = {
    "llama": _llama,
    "llama4": _llama,
    "mllama": _mllama,
    "gemma": _gemma,
    "gemma2": _gemma,
    "gemma3": _gemma,
    "gemma3n": _gemma3n,
    "command-r": _command_r,
    "qwen2": _qwen2,
    "phi2": _phi2,
    "stablelm": _stablelm,
    "deepseek2": _deepseek2,
    "chatglm": _chatglm,
}


def vision_graph(dims: Dimensions) -> tuple[int, int]:
    """(bytes of the vision weights, bytes of the vision graph) inside the model file (`VisionGraphSize`, to 0.12.10).

    `dims.vision` holds weight_bytes (tensors `v.*`), image_size, patch_size, num_channels, embedding_length,
    head_count, max_num_tiles, max_pixels, class_embedding (whether v.class_embd exists); or graph_bytes, ready.
    """
    vision = dims.vision
    weights = vision.get("weight_bytes") or 0
    if vision.get("graph_bytes") is not None:
        return weights, vision["graph_bytes"]
    patch, image = vision.get("patch_size") or 0, vision.get("image_size") or 0
    if not patch:
        return weights, 0
    channels, width, heads = (vision.get(name) or 0 for name in ("num_channels", "embedding_length", "head_count"))
    patches = (image // patch) ** 2 + (1 if vision.get("class_embedding") else 0)
    if dims.architecture == "mllama":
        tiles = vision.get("max_num_tiles") or 0
        padded = patches + 8 - (patches % 8) % 8
        pixels = image * image * channels * tiles
        return weights, 4 * (
            8 + pixels + width * patches * tiles + 9 * width * padded * tiles + (padded * tiles) ** 2 * heads
        )
    if dims.architecture in ("gemma3", "mistral3"):
        return weights, 4 * (image * image * channels + width * patch + patches * patches * heads)
    if dims.architecture == "qwen25vl":
        pixels = vision.get("max_pixels") or 28 * 28 * 1280
        patches = pixels // (patch * patch)
        return weights, 4 * (
            2 * pixels * channels + patches * channels * patch * patch + patches * patches * heads + width * patches
        )
    return weights, 0
