# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the rules of a release take and return."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from ..model.schema import ModelFacts


@dataclasses.dataclass(frozen=True)
class LoadRequest:
    """One load of a model, as a server is asked for it.

    Attributes:
        model: the model's facts.
        gpus: all GPUs of the host in CUDA's order: dictionaries with `uuid`, `total_bytes`, `free_bytes` and
            `compute_capability`.
        options: parameters of the request and the Modelfile (num_ctx, num_gpu, num_batch, main_gpu).
        environment: the service environment.
    """

    model: ModelFacts
    gpus: tuple[dict[str, Any], ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


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
    """

    outcome: str
    tensor_split: Optional[tuple[int, ...]]
    reserve_bytes: int
    headroom_bytes: int
    projector_bytes: int
    cpu_allowed: bool
    forced: bool
