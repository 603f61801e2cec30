# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What would make a model fit whose part in the host's memory does not: each is tried before it is named."""

from __future__ import annotations

import dataclasses
from typing import Optional

from ...common.sizes import GIB, gib
from ..ask.host_memory import HostMemory
from ..shapes import ALL, Choice, Gpu
from .case import Case

STEP = GIB // 4  # memory to free is named in such steps
LARGER = (100, 102, 105, 110, 125, 150)  # percent of what is missing that is tried: a larger batch takes more as well
MOST_HOLDERS = 3


def headroom(case: Case) -> list[str]:
    """A smaller host_headroom_bytes, down to 1 GiB."""
    memory = case.memory
    if memory is None or memory.headroom_bytes <= GIB or not case.may_run:
        return []
    if not case.solved(memory=dataclasses.replace(memory, headroom_bytes=GIB)):
        return []
    return [
        "host_headroom_bytes: %d (1 GiB) fits, instead of %d; the host then has less for itself"
        % (GIB, memory.headroom_bytes)
    ]


def fewer_experts(case: Case) -> list[str]:
    """Experts of fewer layers on the CPU, or of none, where cpu_experts asks for more than the host's memory holds."""
    wanted = case.wanted
    if case.memory is None or not wanted.cpu_experts or not case.gpus:
        return []
    if case.solved(cpu_experts=None):
        return ["cpu_experts: without it the model fits on the GPUs, and is faster"]
    layers = wanted.facts.layers
    first = next(index for index, layer in enumerate(layers) if layer.expert_bytes)
    asked = len(layers) if wanted.cpu_experts == ALL else int(wanted.cpu_experts)
    # Too many do not fit the host, too few not the GPUs: one that fits is found first, then the most.
    some = next((count for count in _spread(first + 1, asked - 1) if case.solved(cpu_experts=count)), None)
    if some is None:
        return []
    most = case.largest(some, asked - 1, lambda count: {"cpu_experts": count}) or some
    return ["cpu_experts: %d fits, and is faster" % most]


def _spread(low: int, high: int) -> list[int]:
    """Some numbers from high down to low, the ends among them; [] where high is less than low."""
    return sorted({high - (high - low) * part // 8 for part in range(9)}, reverse=True) if low <= high else []


def free_memory(case: Case) -> list[str]:
    """Memory that other processes of the host hold."""
    memory, attempt = case.memory, case.choice.attempt
    if memory is None or attempt is None or not attempt.shortfall_bytes or not case.may_run:
        return []
    for percent in LARGER:
        size = -(-attempt.shortfall_bytes * percent // 100 // STEP) * STEP
        if size > memory.held_bytes:
            break
        if _solved(case, memory, size):
            return [
                "host memory: free %s more, and the model fits; %s of the host's %s are in use%s"
                % (gib(size), gib(memory.held_bytes), gib(memory.total_bytes), _holders(memory))
            ]
    return []


def _solved(case: Case, memory: HostMemory, size: int) -> Optional[Choice]:
    gpus = [_freed(gpu, size) if gpu.unified else gpu for gpu in case.gpus]
    return case.solved(gpus, memory=memory.freed(size))


def _freed(gpu: Gpu, size: int) -> Gpu:
    return dataclasses.replace(gpu, available_bytes=min(gpu.total_bytes, gpu.available_bytes + size))


def _holders(memory: HostMemory) -> str:
    held = ["%s by %s" % (gib(size), unit) for unit, size in memory.holders[:MOST_HOLDERS]]
    return ", most of it not by this collection (%s)" % ", ".join(held) if held else ""
