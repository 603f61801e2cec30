# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of one loaded model, device by device: the room's front door."""

from __future__ import annotations

from . import compute, kv_cache, weights


def estimate(
    model,
    shares,
    context_length,
    parallel=1,
    ubatch=512,
    cache_type=kv_cache.DEFAULT_CACHE_TYPE,
    flash_attention=True,
    gpu_layers=None,
    moved=None,
    unified=False,
    outputs=None,
    op_offload=False,
):
    """Predict the memory of a model under llama.cpp's layer split.

    Args:
        model: dict of model_info.
        shares: one number a device in the engine's device order (free memory, or a tensor split); [] = no GPU.
        context_length: tokens of one slot.
        parallel: number of slots.
        ubatch: physical batch, tokens.
        cache_type: KV cache type, for K and V.
        flash_attention: whether the engine uses it ("auto" counts as on: llama.cpp takes it where the device can).
        gpu_layers: slots to offload from the back; None = all.
        moved: {slot: (bytes, device or None)}: weights of a slot that lie on another device or the host.
        unified, outputs, op_offload: as compute.compute_by_device takes them.

    Returns:
        dict: `devices` (list of {layers, weight_bytes, kv_bytes, compute_bytes, offload_scratch_bytes, projector_bytes}; the scratch is
        what op_offload adds to the compute buffer), `gpu_layers`,
        `total_layers`, `host_bytes` (weights and KV cache that stay on the host), `estimated` (whether the compute
        buffers are a careful estimate, because the architecture is not known).

    Raises:
        ValueError: KV cache type unknown or not dividing a row.
    """
    count = len(shares)
    # A batch is never longer than the context (src/llama-context.cpp).
    ubatch = min(
        ubatch, kv_cache.pad(context_length * parallel) if unified else kv_cache.pad(context_length) * parallel
    )
    total = model.block_count + 1
    slots = weights.assign_layers(shares, total, gpu_layers)
    layers = weights.layer_counts(slots, count)
    weight_bytes, host_bytes = weights.weights_by_device(model, slots, count)
    for slot, (size, target) in (moved or {}).items():
        if slots[slot] is not weights.HOST:
            weight_bytes[slots[slot]] -= size
            if target is weights.HOST:
                host_bytes += size
            else:
                weight_bytes[target] += size
    kv_bytes = [0] * count
    for size, device in zip(
        kv_cache.kv_by_layer(model, context_length, parallel, ubatch, cache_type, None, flash_attention, unified), slots
    ):
        if device is weights.HOST:
            host_bytes += size
        else:
            kv_bytes[device] += size
    compute_bytes = compute.compute_by_device(
        model, slots, count, context_length, parallel, ubatch, flash_attention, cache_type, moved, unified, outputs
    )
    scratch = [0] * count
    if op_offload:
        scratch = compute.scratch_by_device(
            model,
            slots,
            count,
            context_length,
            parallel,
            ubatch,
            flash_attention,
            cache_type,
            moved=moved,
            unified=unified,
            outputs=outputs,
        )
    projector = model.projector_bytes or 0
    devices = []
    for index in range(count):
        devices.append(
            {
                "layers": layers[index],
                "weight_bytes": weight_bytes[index],
                "kv_bytes": kv_bytes[index],
                "compute_bytes": compute_bytes[index],
                "offload_scratch_bytes": scratch[index],
                "projector_bytes": projector if index == 0 else 0,
            }
        )
    return {
        "devices": devices,
        "gpu_layers": sum(layers),
        "total_layers": total,
        "host_bytes": host_bytes,
        "estimated": compute.is_estimated(model),
    }


def layer_bytes(model, context_length, parallel=1, ubatch=512, cache_type=kv_cache.DEFAULT_CACHE_TYPE, unified=False):
    """Bytes of every slot with its KV cache: list of block_count + 1 integers, the output layer last."""
    cached = kv_cache.kv_by_layer(model, context_length, parallel, ubatch, cache_type, unified=unified) + [0]
    return [size + cache for size, cache in zip(weights.slot_bytes(model), cached)]
