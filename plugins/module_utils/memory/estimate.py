# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of one loaded model, device by device: the entry point of this room. Pure."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence, Tuple

from ..model.schema import ModelFacts
from . import adapters, compute, kv_cache, speculation, weights
from .load import HEADS, Load


@dataclasses.dataclass(frozen=True)
class DeviceEstimate:
    """What one device holds of a loaded model.

    Attributes:
        layers: number of layers; the output layer counts as one.
        weight_bytes, kv_bytes, compute_bytes: weights, KV cache with recurrent state, compute buffer.
        offload_scratch_bytes: what the compute buffer grows by because the device computes for weights on the host.
        projector_bytes: the projector of a model that sees images; it is on the first device.
        adapter_bytes: LoRA adapters.
        drafting: what proposes further tokens.
    """

    layers: int
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    offload_scratch_bytes: int
    projector_bytes: int
    adapter_bytes: int = 0
    drafting: speculation.Drafting = speculation.Drafting()

    @property
    def engine_bytes(self) -> int:
        """Bytes that the engine's fit counts: no projector, no adapters (and no context of the driver)."""
        own = self.weight_bytes + self.kv_bytes + self.compute_bytes + self.offload_scratch_bytes
        return own + self.drafting.total_bytes


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The memory of a loaded model.

    Attributes:
        devices: one entry per device, in the order of the shares.
        gpu_layers, total_layers: layers on devices, and all layers (block_count + 1).
        host_bytes: weights, adapters and KV cache that stay on the host.
        host_compute_bytes: the host's compute buffer.
        estimated: whether the compute buffers are a careful estimate, because the architecture (of the model, of what
            proposes tokens) is not known.
    """

    devices: Tuple[DeviceEstimate, ...]
    gpu_layers: int
    total_layers: int
    host_bytes: int
    estimated: bool
    host_compute_bytes: int = 0


def estimate(
    model: ModelFacts,
    shares: Sequence[float],
    load: Load,
    gpu_layers: Optional[int] = None,
    moved: Optional[weights.Moved] = None,
) -> Estimate:
    """Predict the memory of a model under llama.cpp's layer split.

    Args:
        model: the ModelFacts.
        shares: one number per device in the engine's device order (free memory, or a tensor split); [] = no GPU.
        load: the Load.
        gpu_layers: layers to offload from the back; None = all.
        moved: {layer: (bytes, device or None)}: weights of a layer that are on another device or the host.

    Raises:
        ValueError: KV cache type unknown or not dividing a row.
    """
    count = len(shares)
    total = model.block_count + 1
    layer_devices = weights.assign_layers(shares, total, gpu_layers)
    layers = weights.layer_counts(layer_devices, count)
    weight_bytes, host_bytes = weights.weights_by_device(model, layer_devices, count, moved)
    adapter_bytes, adapters_on_host = adapters.adapters_by_device(model, layer_devices, count)
    host_bytes += adapters_on_host
    drafting, drafts_on_host = _drafting(model, shares, layer_devices, load, moved)
    host_bytes += drafts_on_host
    kv_bytes = [0] * count
    for size, device in zip(kv_cache.kv_by_layer(model, load), layer_devices):
        if device is weights.HOST:
            host_bytes += size
        else:
            kv_bytes[device] += size
    plain = dataclasses.replace(load, op_offload=False)
    compute_bytes = compute.compute_by_device(model, layer_devices, count, plain, moved)
    host_compute_bytes = compute.compute_on_host(model, layer_devices, count, plain, moved)
    scratch = [0] * count
    if load.op_offload:
        scratch = compute.scratch_by_device(model, layer_devices, count, load, moved)
    projector = model.projector_bytes or 0
    devices = tuple(
        DeviceEstimate(
            layers=layers[index],
            weight_bytes=weight_bytes[index],
            kv_bytes=kv_bytes[index],
            compute_bytes=compute_bytes[index],
            offload_scratch_bytes=scratch[index],
            projector_bytes=projector if index == 0 else 0,
            adapter_bytes=adapter_bytes[index],
            drafting=drafting[index],
        )
        for index in range(count)
    )
    estimated = compute.is_estimated(model) or speculation.is_estimated(model, load)
    return Estimate(devices, sum(layers), total, host_bytes, estimated, host_compute_bytes)


def _drafting(
    model: ModelFacts,
    shares: Sequence[float],
    layer_devices: List[Optional[int]],
    load: Load,
    moved: Optional[weights.Moved],
) -> Tuple[List[speculation.Drafting], int]:
    """What proposes further tokens, on every device, and its bytes on the host."""
    count = len(shares)
    if not speculation.proposes(model, load):
        return [speculation.Drafting()] * count, 0
    theirs = speculation.load_of(load)
    if model.draft is None:
        found = speculation.heads_by_device(model, layer_devices, count, theirs, moved)
        held, host = weights.heads_by_device(model, layer_devices, count, moved)
        return [dataclasses.replace(one, weight_bytes=size) for one, size in zip(found, held)], host
    draft = model.draft
    if load.speculation == HEADS and speculation.has_heads(draft):
        places = weights.assign_layers(shares, draft.block_count + 1)
        found = speculation.heads_by_device(draft, places, count, theirs)
        held, host = weights.weights_by_device(draft, places, count, heads=True)
        return [dataclasses.replace(one, weight_bytes=size) for one, size in zip(found, held)], host
    whole = estimate(draft, shares, theirs)
    drafting = [
        speculation.Drafting(one.weight_bytes, one.kv_bytes, one.compute_bytes + one.offload_scratch_bytes)
        for one in whole.devices
    ]
    return drafting, whole.host_bytes


def layer_bytes(model: ModelFacts, load: Load) -> List[int]:
    """Bytes of every layer with its KV cache and adapters: list of block_count + 1 integers, the output layer last."""
    cached = kv_cache.kv_by_layer(model, load) + [0]
    count = model.block_count + 1
    beside = adapters.adapters_by_device(model, range(count), count)[0]
    return [sum(parts) for parts in zip(weights.weights_by_layer(model), cached, beside)]
