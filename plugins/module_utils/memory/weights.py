# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Weights: which layer is on which device, and the bytes that go with it. Pure.

A model with L blocks has L + 1 layers: the blocks 0..L-1 and the output layer, number L. llama.cpp assigns them to
devices; the token embedding always stays on the host. Source: llama.cpp `load_tensors` (src/llama-model.cpp), confirmed
against the engine's dry run (build 11669).
"""

from __future__ import annotations

import bisect
import struct
from typing import Dict, List, Optional, Sequence, Tuple

from ..model import architecture
from ..model.schema import ModelFacts

HOST = None  # the device of a layer that is not offloaded
# Weights that are elsewhere than their layer: {layer: (bytes, device or HOST)}. llama.cpp's tensor overrides.
Moved = Dict[int, Tuple[int, Optional[int]]]


def float32(value: float) -> float:
    """Round a Python float to the nearest 32 bit float, because llama.cpp compares shares in that precision."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def weights_by_layer(model: ModelFacts, heads: bool = False) -> List[int]:
    """Bytes of the weights of every layer.

    Args:
        model: the ModelFacts.
        heads: whether the blocks that predict further tokens (nextn) are loaded: only with `--spec-type draft-mtp`.

    Returns:
        list of block_count + 1 integers (bytes). The last is the output layer. Where the model has no output matrix
        of its own (tied embeddings) the token embedding is loaded a second time beside the output norm.
    """
    trunk = model.block_count if heads else architecture.trunk_blocks(model)
    sizes = [layer.weight_bytes if index < trunk else 0 for index, layer in enumerate(model.layers)]
    return sizes + [model.output_bytes + _second_embedding(model)]


def _second_embedding(model: ModelFacts) -> int:
    """Bytes of the token embedding where the output layer has no matrix of its own and uses it, else 0.

    Only the token embedding: gemma3n and gemma4 have a second one, per layer, that stays on the host.
    """
    if not model.tied_embeddings or without_output(model):
        return 0
    return model.token_embedding_bytes or model.embedding_bytes


def _is_rearranged(model: ModelFacts) -> bool:
    """Whether an output layer on the host has a token embedding of its own, in memory of another kind (CPU_REPACK).

    llama.cpp's `create_tensor` (src/llama-model-loader.cpp) makes a second tensor for the output layer only in another
    kind of memory than that of the first (TENSOR_DUPLICATED). A matrix that is multiplied goes into CPU_REPACK where
    the CPU computes faster with its blocks in another order: on x86, types of less than 5 bits a weight (ggml-cpu
    repack.cpp, `ggml_repack_get_optimal_repack_type`; seen with build 11669). On ARM there are more of them; the first
    tensor then is pages of the file that are hardly read.
    """
    size = model.token_embedding_bytes or model.embedding_bytes
    return size * 8 < 5 * (model.vocab_size or 0) * model.embedding_length


def without_output(model: ModelFacts) -> bool:
    """Whether a model has no output layer.

    So it is with encoders, whose header names no output norm (src/models/bert.cpp); gemma-embedding has one.
    """
    return model.architecture in architecture.UNCACHED and model.architecture != "gemma-embedding"


def assign_layers(shares: Sequence[float], layer_count: int, gpu_layers: Optional[int] = None) -> List[Optional[int]]:
    """Assign layers to devices as llama.cpp's split mode "layer" does.

    Args:
        shares: list of numbers, one per device, in the engine's device order: free memory, or the values of
            `--tensor-split`. Only their proportion counts.
        layer_count: number of layers (block_count + 1).
        gpu_layers: number of layers to offload, from the back; None or anything larger than layer_count means all.

    Returns:
        list of layer_count entries: the device index of the layer, or HOST.

    Source: llama.cpp `load_tensors`: splits are cumulative shares, layer i of the n offloaded goes to
    `upper_bound(splits, i / n)`, all in 32 bit floats.
    """
    offloaded = layer_count if gpu_layers is None else max(0, min(gpu_layers, layer_count))
    if not shares or not offloaded:
        return [HOST] * layer_count
    sums = []
    total = 0.0
    for share in shares:
        total = float32(total + float32(share))
        sums.append(total)
    if total <= 0:
        return [HOST] * layer_count
    bounds = [float32(value / total) for value in sums]
    first = layer_count - offloaded
    devices: List[Optional[int]] = []
    for layer in range(layer_count):
        if layer < first:
            devices.append(HOST)
        else:
            place = bisect.bisect_right(bounds, float32((layer - first) / offloaded))
            devices.append(min(place, len(shares) - 1))
    return devices


def largest_matrix(model: ModelFacts) -> int:
    """Bytes of the largest weight matrix of a model; where only layers are known, those of the largest layer."""
    sizes = [size for layer in model.layer_sizes or [] for size in layer.values()] or weights_by_layer(model)[:-1]
    return max(sizes + [weights_by_layer(model)[-1]])


def layer_counts(layer_devices: Sequence[Optional[int]], device_count: int) -> List[int]:
    """Number of layers on each device: a list of device_count integers."""
    return [sum(1 for device in layer_devices if device == index) for index in range(device_count)]


def weights_by_device(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    moved: Optional[Moved] = None,
    heads: bool = False,
) -> Tuple[List[int], int]:
    """Bytes of weights on each device and on the host.

    Args:
        model: the ModelFacts.
        layer_devices: device of every layer, as assign_layers gives it.
        device_count: number of devices.
        moved: weights of layers on devices that are elsewhere than their layer.
        heads: as weights_by_layer takes it.

    Returns:
        (list of device_count integers, host bytes). Host bytes are the token embedding and the layers that are not
        offloaded; with mmap they are file pages rather than allocated memory.
    """
    devices = [0] * device_count
    host = model.embedding_bytes
    if layer_devices[-1] is HOST and not _is_rearranged(model):
        host -= _second_embedding(model)  # the output layer uses the token embedding that is there
    for size, device in zip(weights_by_layer(model, heads), layer_devices):
        if device is HOST:
            host += size
        else:
            devices[device] += size
    loaded = model.block_count if heads else architecture.trunk_blocks(model)
    for layer, (size, target) in (moved or {}).items():
        device = layer_devices[layer]
        if device is HOST or layer >= loaded:
            continue
        devices[device] -= size
        if target is HOST:
            host += size
        else:
            devices[target] += size
    return devices, host


def heads_by_device(
    model: ModelFacts, layer_devices: Sequence[Optional[int]], device_count: int, moved: Optional[Moved] = None
) -> Tuple[List[int], int]:
    """Bytes of the weights of the blocks that predict further tokens, on each device and on the host; arguments as
    weights_by_device has them."""
    with_heads, host = weights_by_device(model, layer_devices, device_count, moved, heads=True)
    without, host_without = weights_by_device(model, layer_devices, device_count, moved)
    return [more - less for more, less in zip(with_heads, without)], host - host_without


def on_host(moved: Optional[Moved]) -> bool:
    """Whether any of the weights that are elsewhere than their layer are on the host."""
    return any(target is HOST for dummy, target in (moved or {}).values())
