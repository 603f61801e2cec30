# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the rules of a release take and return."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Optional, Sequence, Union

from ..common.service_variables import Version
from ..model.schema import ModelFacts

Gpu = Dict[str, Any]  # a GPU in the terms of the scheduler, see LoadRequest.gpus


@dataclasses.dataclass(frozen=True)
class LoadRequest:
    """One load of a model, as a server is asked for it.

    Attributes:
        model: the model's facts.
        gpus: all GPUs of the host in CUDA's order: dictionaries with `uuid`, `total_bytes`, `free_bytes` and
            `compute_capability`, and where they differ from a plain CUDA GPU `library`, `variant`, `integrated`,
            `driver_major` and `minimum_bytes`.
        options: parameters of the request and the Modelfile (num_ctx, num_gpu, num_batch, main_gpu,
            draft_num_predict).
        environment: the service environment.
        version: the Ollama version; None = the newest that the rules hold for.
        residents: the engines that run already, in the order in which they would be unloaded (Ollama: shortest
            keep-alive first, then by the model's path). Before 0.30 only their number counts. From 0.30 on they are
            dictionaries {`buffers`, `free_at_load`, `held`}, each {position in the visible GPUs: bytes}; `held` is
            what the driver gets back when the engine ends.
        system: {`free_bytes`, `swap_bytes`} of the host, or None where unknown; a GPU that shares the host's memory
            never has more.
        runner: what measures a load on Ollama's own engine, before 0.30: a function (operation, layout) ->
            measured_layout.Report; None = what memory/ predicts.
    """

    model: ModelFacts
    gpus: Sequence[Gpu]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    version: Optional[Version] = None
    residents: tuple[dict[str, Any], ...] = ()
    system: Optional[dict[str, int]] = None
    runner: Optional[Callable[..., Any]] = None


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a release does with a load.

    Attributes:
        outcome: single, split, partial or cpu; "evict" where, before 0.30, another model is unloaded instead; None
            where the load fails or the layers were not asked for.
        gpus: positions of the chosen GPUs in the request's list.
        tokens: how the chosen GPUs are named to the engine.
        single_gpu: whether the engine is told to use one GPU only (--split-mode none).
        main_gpu: --main-gpu, or None.
        layers: layers per chosen GPU; None where they were not asked for.
        context_length: tokens of one slot.
        parallel: number of slots.
        batch: tokens.
        gpu_layers: number of layers that the engine is told to offload, or None.
        flash_attention: "on", "off" or "auto".
        cache_type: KV cache type that the engine is told, or None.
        predicted_bytes: Ollama's own figure for the model, or None where it has none.
        error: why the load fails, or None.
        evicts: whether another model is unloaded first.
        evicted: how many models are.
        faults: known faults of the version that this load meets: {name, text, remedy}.
        hangs: whether Ollama never returns from this load.
        free_bytes: free memory of each chosen GPU as the release counts it (from 0.30 on).
        estimate: the estimator.Estimate behind the decision (to 0.12.10).
        ranges: (position in the visible GPUs, layer numbers) per chosen GPU (0.11.5 to 0.24).
        graphs: {position in the visible GPUs: bytes counted for the graph} on llama.cpp, 0.12.11 to 0.24.
        weights, cache: bytes of every layer there, the output layer last.
    """

    outcome: Optional[str]
    gpus: Sequence[int]
    tokens: Sequence[str]
    single_gpu: bool
    main_gpu: Optional[int]
    layers: Optional[Sequence[int]]
    context_length: int
    parallel: int
    batch: int
    gpu_layers: Optional[int]
    flash_attention: str = "off"
    cache_type: Optional[str] = None
    predicted_bytes: Optional[int] = None
    error: Optional[str] = None
    evicts: bool = False
    evicted: int = 0
    faults: Sequence[dict[str, str]] = ()
    hangs: bool = False
    free_bytes: Optional[Sequence[int]] = None
    estimate: Any = None
    ranges: Optional[Sequence[tuple[int, list[int]]]] = None
    graphs: Optional[dict[int, int]] = None
    weights: Optional[Sequence[int]] = None
    cache: Optional[Sequence[int]] = None


@dataclasses.dataclass(frozen=True)
class PlannedLoad:
    """A load and what a plan gives it on the GPUs of its request.

    Attributes:
        request: the load; `free_bytes` of its GPUs is what they have for all planned models together.
        device_bytes: bytes per GPU that the plan counts for the model.
        layers: layers per GPU.
        total_layers: layers of the model, the output layer among them.
    """

    request: LoadRequest
    device_bytes: tuple[int, ...]
    layers: tuple[int, ...]
    total_layers: int


@dataclasses.dataclass(frozen=True)
class PlannedLayers:
    """How a plan distributes a model's layers, as far as service variables must say it.

    Attributes:
        outcome: single, split, partial or cpu.
        tensor_split: layers per GPU to insist on, or None.
        reserve_bytes: what the release must leave free on every GPU so that no more layers go there; 0 = nothing.
        headroom_bytes: what the plan keeps free on every GPU.
        projector_bytes: bytes of the model's projector.
        cpu_allowed: whether the user lets layers run on the CPU.
        forced: whether the plan forces all layers to the GPUs (num_gpu 999).
        adapter_bytes: bytes of the model's LoRA adapters.
        cpu_experts: the first layers whose experts stay on the host: a number, "all", or None.
    """

    outcome: str
    tensor_split: Optional[tuple[int, ...]]
    reserve_bytes: int
    headroom_bytes: int
    projector_bytes: int
    cpu_allowed: bool
    forced: bool
    adapter_bytes: int = 0
    cpu_experts: Union[int, str, None] = None
