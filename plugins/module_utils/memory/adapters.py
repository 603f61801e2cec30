# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""LoRA adapters: each of their tensors lies beside the one that it changes. Pure.

Source: llama.cpp src/llama-adapter.cpp `llama_adapter_lora_init_impl`; sizes confirmed against llama-server of build
11669. The engine's fit does not count them: they are loaded after it.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from ..model.schema import ModelFacts


def total_bytes(model: ModelFacts) -> int:
    """Bytes of all adapters of a model."""
    return sum(
        sum(adapter.layer_bytes.values()) + adapter.other_bytes + adapter.embedding_bytes for adapter in model.adapters
    )


def adapters_by_device(
    model: ModelFacts, layer_devices: Sequence[Optional[int]], device_count: int
) -> Tuple[List[int], int]:
    """Bytes of the model's adapters on each device and on the host.

    Args:
        model: the ModelFacts.
        layer_devices: device of every layer, the output layer last (weights.assign_layers).
        device_count: number of devices.
    """
    devices, host = [0] * device_count, 0
    output = len(layer_devices) - 1
    for adapter in model.adapters:
        host += adapter.embedding_bytes
        for layer, size in list(adapter.layer_bytes.items()) + [(output, adapter.other_bytes)]:
            device = layer_devices[layer] if 0 <= layer < output else layer_devices[output]
            if device is None:
                host += size
            else:
                devices[device] += size
    return devices, host
