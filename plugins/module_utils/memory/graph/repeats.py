# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which blocks a graph needs so that its buffers are those of all blocks. Pure.

After a few blocks that are alike, on one device, the allocator is back where it was: more of them take no more memory.
A search plans the same model on many sets of GPUs, so leaving them out counts. That it holds is no proof but an
observation: tests/unit/plugins/module_utils/memory/graph/test_repeats.py compares with whole graphs.
"""

from __future__ import annotations

from typing import List, Tuple

from ...model import architecture
from .graph_builder import Builder

KEPT = 4  # repetitions at the begin of a run that stay; with 2, buffers of 16 of 299 rows differed
LONGEST = 8  # blocks that repeat together (gemma3: five windowed ones and a full one)


def needed(b: Builder, order: List[int]) -> List[int]:
    """The blocks of `order` that the graph has to have.

    Pairs of repetitions are left out, because a block that follows another may lie in the other half of the memory.
    Models with inputs per layer (gemma3n, gemma4) keep all their blocks: every one has an input more. So do those with
    recurrent state, where small values of each block stay between the large ones: falcon-h1 and mamba2 had buffers up
    to 24 MiB smaller without.
    """
    if b.traits.altup or b.traits.per_layer or any(architecture.recurrent_layers(b.model)):
        return order
    marks = _marks(b, order)
    found: List[int] = []
    at = 0
    while at < len(order):
        left_out, period = max((_left_out(marks, at, period), -period) for period in range(1, LONGEST + 1))
        if not left_out:
            found.append(order[at])
            at += 1
            continue
        kept = KEPT * -period
        found.extend(order[at : at + kept])
        at += kept + left_out
    return found


def _left_out(marks: List[int], at: int, period: int) -> int:
    """How many blocks may be left out after the first KEPT repetitions of `period` blocks that begin at `at`."""
    end = at
    while end + period < len(marks) and marks[end] == marks[end + period]:
        end += 1
    run = end + period - at if end > at else 0
    return max(0, run - KEPT * period) // (2 * period) * (2 * period)


def _marks(b: Builder, order: List[int]) -> List[int]:
    """A number for every block; those with the same one are alike and on one device."""
    stacked = b.hyper("n_deepstack_layers") or 0
    numbers: dict[Tuple[object, ...], int] = {}
    marks = []
    for layer in order:
        entry = b.model.layers[layer] if layer < len(b.model.layers) else None
        mark = (
            id(b.kinds[layer]),
            b.layer_devices[layer],
            b.windowed[layer],
            b.has_positions(layer),
            b.heads[layer],
            b.kv_heads[layer],
            architecture.cache_owner(b.model, layer) == layer,
            b.moved.get(layer),
            layer < stacked,
            # Sizes of weights count where they may be copied to a device.
            (entry.sizes, entry.weight_bytes, entry.expert_bytes) if entry and b.sizes else None,
            tuple(bool(adapter.layer_bytes.get(layer)) for adapter in b.model.adapters),
        )
        marks.append(numbers.setdefault(mark, len(numbers)))
    return marks
