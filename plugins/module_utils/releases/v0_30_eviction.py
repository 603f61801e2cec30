# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models Ollama 0.30 and later unloads to load another one, and the free memory that it counts with.

Source: server/sched.go (`processPending`, `requireFull` of `load`, `updateFreeSpace`) and llm/llama_server.go
(`GetDeviceInfos`), read at 0.32.15; checked against recorded sequences of loads of that version.
"""

from __future__ import annotations

from typing import Any, Sequence

from . import variable_values as env
from .shapes import Gpu, LoadRequest

# A model goes to one GPU, or is loaded beside others, only if its figure is at most this share of the free memory.
USABLE_PERCENT = 80


def accounted_free(gpus: Sequence[Gpu], residents: Sequence[dict[str, Any]]) -> list[int]:
    """Free bytes of every GPU as Ollama counts them while engines are running.

    From 0.30 to 0.32.15 (and 0.33.0-rc2) an engine's figures are looked up by the name that it gives its GPU, and an
    engine that was given one GPU calls it CUDA0 whatever its index. So what a one-GPU engine holds on a GPU of index
    above 0 is not found, and where engines cover every GPU, that GPU counts as empty (seen on a running server). What
    was free when an engine was loaded is never read again, so memory that another model has given back since counts as
    taken. One thing is left out, as it is a matter of timing: of what was free the server reads one line of each piece
    of the engine's output, and a GPU whose line it missed counts as its total less the buffers.

    Args:
        gpus: GPUs in discovery order, `free_bytes` as the driver reports it.
        residents: running engines in the order of loading, see shapes.LoadRequest; an engine with one position is a
            one-GPU engine.
    """
    covered = {position for resident in residents for position in resident["buffers"]}
    everywhere = covered >= set(range(len(gpus)))
    free = []
    for position, gpu in enumerate(gpus):
        total = gpu["total_bytes"]
        amount = gpu["free_bytes"]
        found = 0
        counted = None
        for resident in residents:
            if position not in resident["buffers"]:
                continue
            if len(resident["buffers"]) == 1 and position > 0:
                if counted is None:
                    counted = total
                continue
            held = resident["buffers"][position]
            found += held
            counted = min(total - held, resident["free_at_load"][position] - held)
        if everywhere and counted is not None:
            amount = counted
        free.append(max(0, min(amount, total - found)))
    return free


def evicts(request: LoadRequest, needed: int, members: Sequence[Gpu], loaded: int = 1, gpu_count: int = 1) -> bool:
    """Whether a model that is loaded is unloaded first.

    Args:
        request: the load.
        needed: Ollama's figure for it with the batch's surcharge, bytes.
        members: the chosen GPUs with their free memory beside what is loaded.
        loaded: number of models that are loaded.
        gpu_count: number of GPUs that the service sees.
    """
    if loaded >= env.most_loaded(request.environment, gpu_count):
        return True
    num_gpu = request.options.get("num_gpu")
    if num_gpu is not None and 0 <= num_gpu < request.model.block_count + 1:
        return False
    return bool(members) and needed > sum(gpu["free_bytes"] for gpu in members) * USABLE_PERCENT // 100


def without(resident: dict[str, Any], gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs after an engine has ended and the driver has its memory back."""
    held = resident["held"]
    return [
        dict(gpu, free_bytes=min(gpu["free_bytes"] + held.get(position, 0), gpu["total_bytes"]))
        for position, gpu in enumerate(gpus)
    ]
