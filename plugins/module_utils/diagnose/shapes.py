# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a diagnosis is made from, and what it says. Pure.

Bytes are integers named `*_bytes`; what is unknown is None. Nothing here needs a plan: the role may never have run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..evidence.shapes import Answer, EngineLog, EngineProcess, Evidence

#: How sure a finding is. CERTAIN: what was seen is by itself the cause of what the finding says. LIKELY: it mostly is.
#: POSSIBLE: it may be wanted, or have no effect here.
CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
CONFIDENCES = (CERTAIN, LIKELY, POSSIBLE)


@dataclass(frozen=True)
class Finding:
    """One cause of trouble.

    Attributes:
        finding: the kind, a key of kinds.KINDS.
        evidence: what was seen, with values; a sentence without a full stop.
        confidence: CERTAIN, LIKELY or POSSIBLE.
        remedy: what to do; one or two sentences.
        variable: the variable of the role, or the option of a model, that applies it; "" where there is none.
        subject: what it is about: the UUID of a GPU, a unit, or "" for the host.
    """

    finding: str
    evidence: str
    confidence: str
    remedy: str
    variable: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Node:
    """A device node; `mode` (permission bits), `uid` and `gid` are None for one that is not there."""

    path: str
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Program:
    """An Ollama program: its path without links, the directory of its libraries and the names in that."""

    path: str
    libraries: str | None = None
    entries: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerGpu:
    """A device that a server has found at its start, by its own log."""

    library: str
    pci_bus_id: str | None = None
    description: str = ""


@dataclass(frozen=True)
class ServerLog:
    """What a server has logged since its start.

    `gpus` is None where the log does not tell; [] means that it has found none. `default_context` is the context that
    it gives to models that name none. `problems` are lines of errors by the kind of finding that they show, each with
    how often it came.
    """

    gpus: list[ServerGpu] | None = None
    default_context: int | None = None
    problems: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """A process that serves one model, and what it holds.

    `held` is {uuid: bytes} by NVML, None where NVML does not tell the memory of processes. `loaded` is the model's
    entry of /api/ps where it is known which one it is. Of this model, `asked_context` is its parameter num_ctx, and
    `trained_context` the longest context that it takes; None where it has none, or where that is unknown.
    """

    process: EngineProcess
    log: EngineLog | None = None
    held: dict[str, int] | None = None
    swapped_bytes: int = 0
    loaded: dict[str, Any] | None = None
    asked_context: Any = None
    trained_context: Any = None

    @property
    def name(self) -> str:
        """The name of its model, or of its blob where that is unknown."""
        return (self.loaded or {}).get("name") or self.process.model_file


@dataclass(frozen=True)
class Server:
    """An Ollama server: a process, or a unit that has none.

    Attributes:
        name: its unit, or "process 123".
        planned: the entry of the applied plan, None for a server that is in none.
        pid: 0 where it does not run.
        properties: systemd's, {} for a process outside the units that are known.
        process: the variables that its process was started with and that servers read; None where unknown.
        unit: the same as the unit would set them now.
        executable: the file that the process runs.
        version: of the release, None where it does not answer.
        loaded: entries of /api/ps, None where unknown.
        user: (uid, gids) of the process.
        closed_nodes: of host/device_nodes.py, the device nodes that the service cannot open, and why.
    """

    name: str
    planned: dict[str, Any] | None = None
    pid: int = 0
    properties: dict[str, str] = field(default_factory=dict)
    process: dict[str, str] | None = None
    unit: dict[str, str] | None = None
    executable: str | None = None
    url: str | None = None
    version: str | None = None
    loaded: list[dict[str, Any]] | None = None
    user: tuple[int, list[int]] | None = None
    closed_nodes: dict[str, str] = field(default_factory=dict)
    swapped_bytes: int = 0
    log: ServerLog = field(default_factory=ServerLog)
    last_lines: tuple[str, ...] = ()
    engines: tuple[Engine, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """What counts for it: the environment of the process, or what its unit sets where it does not run."""
        return (self.process if self.process is not None else self.unit) or {}

    @property
    def wants_gpus(self) -> bool:
        """Whether it is meant to use GPUs: a server of a plan for the CPU is not."""
        return self.planned is None or bool(self.planned.get("gpu_uuids"))


@dataclass(frozen=True)
class HostEvidence:
    """What was seen of a host.

    Attributes:
        inventory: the fact `gpu_inventory`.
        under_load: of gpu/under_load.py, by UUID.
        bound_drivers: {PCI address: kernel driver or None} of GPUs that the NVIDIA driver does not list.
        nodes: device nodes.
        kernel_lines: of host/kernel_log.py, None where they cannot be read.
        servers: all that run, and the units that should.
        programs: what is installed.
        memory: /proc/meminfo in bytes.
        cgroups: {pid: text of /proc/PID/cgroup} of the processes on GPUs.
        strays: engines whose server has ended.
        answers: of the loaded models, where they were asked.
        proof: how the host compares with the applied plan; None where there is no plan, or it cannot be checked.
        amd_gpus: PCI addresses of GPUs of AMD, which nothing else is known of.
        plan: the applied plan, {} where there is none that can be used.
    """

    inventory: dict[str, Any]
    under_load: dict[str, dict[str, Any]] = field(default_factory=dict)
    bound_drivers: dict[str, str | None] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    kernel_lines: list[str] | None = None
    servers: tuple[Server, ...] = ()
    programs: tuple[Program, ...] = ()
    memory: dict[str, int] = field(default_factory=dict)
    cgroups: dict[int, str] = field(default_factory=dict)
    strays: tuple[EngineProcess, ...] = ()
    answers: tuple[Answer, ...] = ()
    proof: Evidence | None = None
    amd_gpus: tuple[str, ...] = ()
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def gpus(self) -> list[dict[str, Any]]:
        """The GPUs of the inventory."""
        return self.inventory.get("gpus") or []
