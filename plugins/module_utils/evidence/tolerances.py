# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far the memory on a GPU may differ from its prediction. Pure.

A `device` is one entry of a plan's `predicted.devices`.
"""

from __future__ import annotations

from typing import Any

from ..common.sizes import GIB, MIB

#: A device differs from its prediction when it is off by more than the larger of these two.
TOLERANCE_BYTES = GIB
TOLERANCE_SHARE = 0.10
#: With less than this much of a model on a device, its bytes cannot be told from those of a bare CUDA context.
SMALLEST_SHARE_BYTES = 512 * MIB
#: The headroom of a plan that does not state one.
DEFAULT_HEADROOM_BYTES = GIB
#: Memory on a GPU outside the plan that is more than a bare CUDA context.
MOST_OF_A_CONTEXT_BYTES = GIB
#: Growth of other processes that counts as taking memory from the plan.
FOREIGN_GROWTH_BYTES = GIB
#: Growth of other processes that can explain why a model holds too little; less is ordinary use of a desktop.
FOREIGN_GROWTH_NOTICED_BYTES = 256 * MIB


def tolerance(predicted_bytes: int) -> int:
    """Return the bytes by which a device may differ from its prediction: the larger of 10 % and 1 GiB."""
    return max(int(predicted_bytes * TOLERANCE_SHARE), TOLERANCE_BYTES)


def total_bytes(device: dict[str, Any]) -> int:
    """Return the bytes that are predicted on a device, with the context of the process."""
    return device.get("total_bytes") or 0


def model_bytes(device: dict[str, Any]) -> int:
    """Return the bytes of the model itself on a device, without the context of the process."""
    return total_bytes(device) - (device.get("overhead_bytes") or 0)


def least_bytes(device: dict[str, Any]) -> int:
    """Return the bytes of a prediction that an engine holds in any case.

    That is all but the scratch memory for weights on the host, which it has only where it computes for them on the GPU
    (llama.cpp's --op-offload, on devices that offer it).
    """
    return total_bytes(device) - (device.get("offload_scratch_bytes") or 0)


def is_far(device: dict[str, Any], observed_bytes: int) -> bool:
    """Return whether a device holds more than predicted, or less than it must, by more than the tolerance."""
    least, most = least_bytes(device), total_bytes(device)
    return observed_bytes > most + tolerance(most) or observed_bytes < least - tolerance(least)


def holds_model(device: dict[str, Any], observed_bytes: int | None) -> bool | None:
    """Return whether a device holds more than a bare CUDA context.

    Args:
        device: of the plan's `predicted.devices`.
        observed_bytes: by NVML; 0 where the engine is not listed, None where the bytes are unknown.

    Returns:
        True or False; None where the bytes are unknown.
    """
    if observed_bytes is None:
        return None
    overhead = device.get("overhead_bytes") or 0
    share = least_bytes(device) - overhead
    if share < SMALLEST_SHARE_BYTES:
        return observed_bytes > 0
    return observed_bytes > max(1.5 * overhead, overhead + 0.15 * share)
