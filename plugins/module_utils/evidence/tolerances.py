# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Between which limits the memory on a GPU has to be, part by part. Pure.

A `device` is one entry of a plan's `predicted.devices`. Weights, KV cache and projector are known exactly: the engine's
own figures (build 11669) are equal to them in all 1,560 device rows of engine-rows.json. So nothing may be below them,
whatever the other parts are:

* Compute buffer. Where the engine printed its own, that one counts. Else it is predicted. It is llama-server's to 1 MiB
  in all 1,560 device rows of engine-rows-server.json and in 99.3 % of the 3,983 of the oracle, the others at most
  49 MiB apart; other builds differ by a few per cent. Where it is a careful estimate, the engine may take any less.
* CUDA context of the process. The recorded ones are 152 to 553 MiB and differ with card and driver by up to a third
  from what the plan takes (memory/overhead.py).
* Memory that the engine takes at its first prompt (workspace of cuBLAS, memory pool): "tens to hundreds of MiB".
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common.sizes import GIB, MIB

#: Rounding of the figures of engine and plan to MiB, for each part.
ROUNDING_BYTES = 2 * MIB
EXACT_SHARE = 0.002
#: By how much a compute buffer may be off, where the engine printed none: the larger of the two.
COMPUTE_BYTES, COMPUTE_SHARE = 64 * MIB, 0.03
#: Share of the planned context that a process has in any case, and that it may have in addition.
LEAST_CONTEXT_SHARE, MORE_CONTEXT_SHARE = 0.5, 0.5
#: What an engine may take beside its buffers once it has computed.
RUNTIME_BYTES = 512 * MIB
#: What the projector of a model that sees images may take beside its weights (1,136 MiB for qwen3.x).
PROJECTOR_COMPUTE_BYTES = 1280 * MIB
#: With less of a model on a device, its bytes cannot be told from those of a large CUDA context.
SMALLEST_SHARE_BYTES = 512 * MIB
#: Memory of a GPU that belongs to no listed process: what the driver itself takes.
DRIVER_BYTES = 512 * MIB
#: The headroom of a plan that does not state one.
DEFAULT_HEADROOM_BYTES = GIB
#: Growth of other processes that counts as taking memory from the plan.
FOREIGN_GROWTH_BYTES = GIB
#: Growth of other processes that can explain why a model holds too little; less is ordinary use of a desktop.
FOREIGN_GROWTH_NOTICED_BYTES = 256 * MIB
#: By how much a sum of the engine may differ from the plan's in host memory: the larger of the two.
HOST_BYTES, HOST_SHARE = GIB, 0.10


@dataclasses.dataclass(frozen=True)
class Limits:
    """The bytes that a process has to hold on a device, at least and at most."""

    least_bytes: int
    most_bytes: int


def total_bytes(device: dict[str, Any]) -> int:
    """Return the bytes that are predicted on a device, with the context of the process."""
    return device.get("total_bytes") or 0


def model_bytes(device: dict[str, Any]) -> int:
    """Return the bytes of the model itself on a device, without the context of the process."""
    return total_bytes(device) - _part(device, "overhead_bytes")


def exact_bytes(device: dict[str, Any]) -> int:
    """Return the bytes of a device that are known exactly: weights, adapters, KV caches and projector."""
    exact = sum(_part(device, name) for name in ("weight_bytes", "kv_bytes", "projector_bytes", "adapter_bytes"))
    return exact + _part(device, "draft_bytes") - _part(device, "draft_compute_bytes")


def compute_bytes(device: dict[str, Any]) -> int:
    """Return the predicted compute buffers of a device: the model's, and that of what proposes tokens for it."""
    return _part(device, "compute_bytes") + _part(device, "draft_compute_bytes")


def least_compute(device: dict[str, Any], estimated: bool = False) -> int:
    """Return the least that the compute buffer of a device can be, where the engine has not printed it.

    Args:
        device: of the plan's `predicted.devices`.
        estimated: whether it is a careful estimate.
    """
    predicted = compute_bytes(device)
    return 0 if estimated else max(0, predicted - compute_tolerance(predicted))


def compute_tolerance(predicted_bytes: int) -> int:
    """Return the bytes by which a predicted compute buffer may be off: the larger of 64 MiB and 3 %."""
    return max(COMPUTE_BYTES, int(predicted_bytes * COMPUTE_SHARE))


def exact_tolerance(planned_bytes: int) -> int:
    """Return the bytes by which the engine's own weights and KV cache may be off the plan's: 8 MiB or 0.2 %.

    The figures are rounded, and CUDA pads the last row of a tensor.
    """
    return max(4 * ROUNDING_BYTES, int(planned_bytes * EXACT_SHARE))


def is_cache(device: dict[str, Any], cache_bytes: int, more_bytes: int) -> bool:
    """Return whether an engine's KV cache with recurrent state is that of a device of the plan.

    Args:
        device: of the plan's `predicted.devices`, or the sums of several.
        cache_bytes: of the engine, that of what proposes tokens included (the plan does not have it apart).
        more_bytes: by how much it may be off besides.
    """
    planned = _part(device, "kv_bytes")
    draft = _part(device, "draft_bytes") - _part(device, "draft_compute_bytes")
    allowed = exact_tolerance(planned) + more_bytes
    return planned - allowed <= cache_bytes <= planned + draft + allowed


def limits(device: dict[str, Any], exact: int, compute: Limits) -> Limits:
    """Return the limits of what the engine's process holds on a device.

    Args:
        device: of the plan's `predicted.devices`.
        exact: bytes of weights and KV cache.
        compute: limits of the compute buffer.

    Returns:
        The limits. The scratch memory for weights on the host may be there and need not: an engine has it only where it
        computes for them on the GPU (llama.cpp's --op-offload, on devices that offer it).
    """
    projector, context = _part(device, "projector_bytes"), _part(device, "overhead_bytes")
    least = exact + projector + compute.least_bytes + int(context * LEAST_CONTEXT_SHARE) - exact_tolerance(exact)
    most = exact + projector + compute.most_bytes + _part(device, "offload_scratch_bytes") + exact_tolerance(exact)
    most += int(context * (1 + MORE_CONTEXT_SHARE)) + RUNTIME_BYTES
    return Limits(max(0, least), most + (PROJECTOR_COMPUTE_BYTES if projector else 0))


def is_small(device: dict[str, Any], least_compute_bytes: int) -> bool:
    """Return whether a device holds so little of a model that a large CUDA context alone would be as much."""
    return exact_bytes(device) + least_compute_bytes < SMALLEST_SHARE_BYTES


def host_tolerance(planned_bytes: int) -> int:
    """Return the bytes by which the engine's buffers in host memory may be above the plan."""
    return max(HOST_BYTES, int(planned_bytes * HOST_SHARE))


def _part(device: dict[str, Any], name: str) -> int:
    return device.get(name) or 0
