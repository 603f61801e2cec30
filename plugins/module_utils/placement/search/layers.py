# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How a model's layers are distributed over exactly these GPUs, and whether it fits with the headroom kept."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence

from ..shapes import SINGLE, SPLIT, GpuRoom, Layout, Placed, Wanted
from . import confirm
from .fitting import Fitting

NO_FLASH = (
    "A KV cache of type %s needs flash attention, which Ollama %s does not use on GPUs as old as one of these; "
    "use f16 there"
)
_HALVINGS = 20  # of the limit in `balanced`: a millionth of a GPU


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a placement must keep to.

    Attributes:
        every_gpu: whether each GPU must get at least one layer (strategies split and spread).
        allowance_bytes: what may be missing of the headroom (0 but for a model that runs there already).
        settled: whether it runs there already, so that the plan does not set the layers without need.
    """

    every_gpu: bool = False
    allowance_bytes: int = 0
    settled: bool = False


def place(
    fitting: Fitting, wanted: Wanted, rooms: Sequence[GpuRoom], context_length: int, terms: Terms = Terms()
) -> Placed:
    """Put a model on exactly these GPUs.

    The plan sets the layers per GPU where the engine's own split by free memory would not fit, or might not after a
    small change of it. It sets a smaller batch where the one that Ollama would choose does not fit.

    Args:
        fitting: what a model takes.
        wanted: the model.
        rooms: the GPUs, in PCI order, with the bytes that each has for the model.
        context_length: tokens of one slot.
        terms: what the placement must keep to.
    """
    placed = _with_batch(fitting, wanted, rooms, context_length, terms)
    if fitting.lacks_flash(wanted, [room.gpu for room in rooms]):
        refusal = NO_FLASH % (wanted.kv_cache_type, fitting.release.version)
        return dataclasses.replace(placed, shortfall_bytes=max(placed.shortfall_bytes, 1), refusal=refusal)
    if not placed.shortfall_bytes or wanted.ubatch:
        return placed
    predicted = placed.predicted
    kept = predicted.headroom_bytes - terms.allowance_bytes
    # Of all GPUs together, however split. A smaller batch cannot save more than the compute buffers are.
    missing = sum(kept - device.spare_bytes for device in predicted.devices)
    if missing >= sum(device.compute_bytes for device in predicted.devices):
        return placed
    for batch in fitting.release.smaller_batches:
        if batch < predicted.ubatch:
            asked = dataclasses.replace(wanted, ubatch=batch)
            smaller = _with_batch(fitting, asked, rooms, context_length, terms)
            if not smaller.shortfall_bytes:
                return dataclasses.replace(smaller, batch=batch, batch_is_lowered=True)
    return placed


def _with_batch(
    fitting: Fitting, wanted: Wanted, rooms: Sequence[GpuRoom], context_length: int, terms: Terms
) -> Placed:
    """`place` with the batch that is asked for, or that Ollama chooses."""
    predicted = fitting.predict(wanted, rooms, context_length)
    placed = Placed(
        predicted, SPLIT if len(rooms) > 1 else SINGLE, shortfall_bytes=predicted.shortfall(terms.allowance_bytes)
    )
    if not fitting.release.layers_can_be_set:
        return confirm.confirmed(fitting, wanted, placed, terms.allowance_bytes)
    good = _good(placed, terms)
    if len(rooms) < 2 or (good and (terms.settled or _survives_a_moved_layer(fitting, wanted, placed))):
        return placed
    counts = balanced(fitting, wanted, rooms, context_length, terms.allowance_bytes)
    if counts:
        other = fitting.predict(wanted, rooms, context_length, Layout(counts))
        even = dataclasses.replace(
            placed, predicted=other, split_is_set=True, shortfall_bytes=other.shortfall(terms.allowance_bytes)
        )
        if _good(even, terms):
            return even
    if good:
        return dataclasses.replace(placed, split_is_set=True)
    if not placed.shortfall_bytes:
        return dataclasses.replace(placed, shortfall_bytes=1, refusal=confirm.NO_LAYER)
    return placed


def _good(placed: Placed, terms: Terms) -> bool:
    return not placed.shortfall_bytes and (not terms.every_gpu or all(placed.predicted.layers))


def _survives_a_moved_layer(fitting: Fitting, wanted: Wanted, placed: Placed) -> bool:
    """Whether every GPU has room for one more layer, the largest of the model.

    Then the model fits as well where a small change of the free memory makes the engine split it differently.
    """
    predicted = placed.predicted
    spare = min(device.spare_bytes for device in predicted.devices) - predicted.headroom_bytes
    return spare >= max(fitting.layer_bytes(wanted, predicted.context_length, predicted.ubatch))


def balanced(
    fitting: Fitting, wanted: Wanted, rooms: Sequence[GpuRoom], context_length: int, allowance_bytes: int = 0
) -> Optional[tuple[int, ...]]:
    """Layers per GPU that leave the fullest GPU as empty as it can be, or None if no such split fits.

    Layers are contiguous, so for a given limit (a share of each GPU's room) filling from the first GPU is exact; the
    smallest limit that places all layers is found by bisection.

    Returns:
        number of layers for each of `rooms`, in their order.
    """
    even = fitting.predict(wanted, rooms, context_length, Layout((1,) * len(rooms)))
    sizes = fitting.layer_bytes(wanted, context_length, even.ubatch)
    kept = wanted.headroom_bytes - allowance_bytes
    # Per GPU: (bytes that it may hold, bytes that do not depend on its layers).
    limits = []
    for device in even.devices:
        fixed = device.compute_bytes + device.draft_bytes + device.projector_bytes
        fixed += device.overhead_bytes + device.offload_scratch_bytes + device.shared_bytes
        limits.append((device.room_bytes - kept, fixed))
    best = _filled(limits, sizes, 1.0)
    if best is None:
        return None
    low, high = 0.0, 1.0
    for dummy in range(_HALVINGS):
        middle = (low + high) / 2
        counts = _filled(limits, sizes, middle)
        if counts is None:
            low = middle
        else:
            high, best = middle, counts
    return best


def _filled(limits: Sequence[tuple[int, int]], sizes: Sequence[int], share: float) -> Optional[tuple[int, ...]]:
    """Layers per GPU where each GPU takes as many as a share of its limit holds.

    None where layers are left over, or where a GPU gets none.

    Args:
        limits: for each GPU the bytes that it may hold, and those of them that do not depend on its layers.
        sizes: bytes of each layer.
    """
    counts = []
    start = 0
    for place, (most, fixed) in enumerate(limits):
        later = len(limits) - place - 1
        budget = most * share - fixed
        used = count = 0
        while start < len(sizes) - later and used + sizes[start] <= budget:
            used += sizes[start]
            start += 1
            count += 1
        if not count:
            return None
        counts.append(count)
    return tuple(counts) if start == len(sizes) else None
