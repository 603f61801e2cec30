# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Shapes of what is observed on a host, and of the evidence that placement_check returns.

`Observations` is what `collect` gathers. `Evidence` is what `checks` makes of it; `dataclasses.asdict` of an Evidence
is the result of the module. Bytes are integers named `*_bytes`; unknown is None, never 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

# -- observed on the host ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EngineProcess:
    """A process that serves one model (llama-server, or the runner of earlier releases).

    `model_file` is the base name of the model's blob ("sha256-..."), `port` the engine's own port, and `started` its
    start in clock ticks since boot. `environment` holds the variables that concern GPUs and Ollama.
    """

    pid: int
    model_file: str
    port: int | None
    arguments: list[str]
    started: int
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LoggedDevice:
    """A device that the engine says it uses; `pci_bus_id` is None where the log has no PCI address."""

    name: str
    pci_bus_id: str | None


@dataclasses.dataclass(frozen=True)
class EngineLog:
    """What an engine logged while it loaded a model; devices are named as in the log ("CUDA0", "CPU").

    `dry_run` is what the engine expected to use on each GPU and `dry_run_host` in host memory; `buffers` is what it
    allocated. `layers` of `layers_total` are on GPUs by its own account. `error` is why it ended, as Ollama logged it.
    """

    devices: dict[str, LoggedDevice] = dataclasses.field(default_factory=dict)
    dry_run: dict[str, int] = dataclasses.field(default_factory=dict)
    dry_run_host: int | None = None
    buffers: dict[str, int] = dataclasses.field(default_factory=dict)
    layers: int | None = None
    layers_total: int | None = None
    load_seconds: float | None = None
    error: str | None = None


@dataclasses.dataclass
class ObservedModel:
    """What was observed of one model of the plan. `collect` fills it in step by step.

    `ps` is the model's entry in /api/ps. `would_evict` names the models that loading this one could evict. `died` says
    how its engine ended. `fresh` is True if this check loaded it. `device_uuids` maps the log's devices to UUIDs
    ({"CUDA0": "GPU-..."}). `utilization_peak` is in percent by UUID, None where no generation was run.
    """

    loaded: bool = False
    load_error: str | None = None
    would_evict: list[str] = dataclasses.field(default_factory=list)
    ps: dict[str, Any] | None = None
    engine: EngineProcess | None = None
    died: str | None = None
    fresh: bool = False
    log: EngineLog | None = None
    device_uuids: dict[str, str] = dataclasses.field(default_factory=dict)
    load_seconds: float | None = None
    tokens_per_second: float | None = None
    generation_error: str | None = None
    utilization_peak: dict[str, int | None] | None = None


@dataclasses.dataclass
class ObservedInstance:
    """What was observed of one instance of the plan.

    `error` says why the server is not reachable, `journal_problem` why its journal cannot be read. `unit` holds the
    properties of its service (systemctl show), `loaded` the names in /api/ps, and `models` the models of the plan by
    the name they are served under.
    """

    reachable: bool = False
    error: str | None = None
    unit: dict[str, str] = dataclasses.field(default_factory=dict)
    journal_problem: str | None = None
    loaded: list[str] = dataclasses.field(default_factory=list)
    models: dict[str, ObservedModel] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Observations:
    """What was observed for a plan: the GPU facts (fact `gpu_inventory`) and the instances by name."""

    inventory: dict[str, Any]
    instances: dict[str, ObservedInstance]


# -- result of placement_check -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison of the plan with the host. `passed` is None where the host cannot tell."""

    name: str
    passed: bool | None
    expected: Any
    observed: Any


@dataclasses.dataclass(frozen=True)
class Finding:
    """Why checks failed: the kind of finding, what was seen, and what to do about it."""

    finding: str
    evidence: str
    remedy: str
    instance: str
    model: str


@dataclasses.dataclass(frozen=True)
class DeviceEvidence:
    """Memory of one model on one GPU: predicted by the plan, expected by the engine, observed by NVML."""

    uuid: str
    predicted_bytes: int | None
    engine_bytes: int | None
    observed_bytes: int | None
    utilization_peak: int | None


@dataclasses.dataclass(frozen=True)
class ModelEvidence:
    """The evidence of one model."""

    name: str
    checks: list[Check]
    devices: list[DeviceEvidence]
    layers_offloaded: int | None
    layers_total: int | None
    tokens_per_second: float | None
    load_seconds: float | None


@dataclasses.dataclass(frozen=True)
class InstanceEvidence:
    """The evidence of one instance."""

    name: str
    unit: str
    url: str
    models: list[ModelEvidence]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence of a whole plan. `verdict` is "pass" only if no check failed."""

    verdict: str
    instances: list[InstanceEvidence]
    diagnosis: list[Finding]
