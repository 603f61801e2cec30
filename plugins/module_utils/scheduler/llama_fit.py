# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama.cpp's own fitting (`common_params_fit_impl`, common/fit.cpp, build 11669): how many layers go to each device.

It leaves a margin free on every device. If the model fits as it is, nothing changes: layers go by free memory. If
not, devices are filled from the last to the first, and what remains stays on the host. For mixture-of-experts models
the layers are first counted without their experts, then experts are added from the first device on.
"""

from __future__ import annotations

from ..memory import estimate as memory

MARGIN_BYTES = 1024 * 1024 * 1024


def fit(
    model,
    free_bytes,
    context_length,
    parallel=1,
    ubatch=512,
    cache_type="f16",
    flash_attention=True,
    gpu_layers=None,
    margins=None,
    enabled=True,
    tensor_split=None,
):
    """Layers per device as the engine would load them.

    Args:
        model: dict of model_info.
        free_bytes: free memory of each device, in the engine's order.
        context_length, parallel, ubatch, cache_type, flash_attention: as memory.estimate takes them.
        gpu_layers: --n-gpu-layers, or None; a number switches the fitting off.
        margins: bytes to leave free on each device; 1 GiB each by default.
        enabled: LLAMA_ARG_FIT.
        tensor_split: the user's proportions, or None; they switch the fitting off.

    Returns:
        dict: `changed` (whether the fit altered anything), `layers` (per device), `overflowing` (layers whose experts
        stay on the host, all devices together).
    """
    margins = margins or [MARGIN_BYTES] * len(free_bytes)

    def measure(shares, layers=None):
        return memory.estimate(model, shares, context_length, parallel, ubatch, cache_type, flash_attention, layers)

    initial = measure(tensor_split or free_bytes, gpu_layers)
    unchanged = {"changed": False, "layers": [device["layers"] for device in initial["devices"]], "overflowing": 0}
    if gpu_layers is not None or tensor_split or not enabled:
        return unchanged
    if all(free - used(device) >= margin for free, device, margin in zip(free_bytes, initial["devices"], margins)):
        return unchanged
    total = model["block_count"] + 1
    count = len(free_bytes)
    layers = [0] * count
    remaining = total
    for index in range(count - 1, -1, -1):
        for amount in range(remaining, -1, -1):
            trial = list(layers)
            trial[index] = amount
            if amount == 0 or used(measure(trial, sum(trial))["devices"][index]) <= free_bytes[index] - margins[index]:
                layers = trial
                break
        remaining -= layers[index]
    return {"changed": True, "layers": layers, "overflowing": 0}


def used(device):
    """Bytes that the engine counts on a device: weights, KV cache and compute buffer (no context, no projector)."""
    return device["weight_bytes"] + device["kv_bytes"] + device["compute_bytes"]
