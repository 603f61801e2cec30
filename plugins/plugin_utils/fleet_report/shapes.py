# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report of a fleet as data; HTML, Markdown and JSON copy from it. Pure.

Bytes are integers named `*_bytes`. Unknown is None, never 0. `dataclasses.asdict` of a FleetReport is the JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

#: Goes up where a key of the JSON changes its meaning.
REPORT_VERSION = 1

#: States of a host, those that somebody has to look at first.
UNREACHABLE = "unreachable"
FAILED = "failed"
NOT_FINISHED = "not finished"
NOT_AS_PLANNED = "not as planned"
NOT_PROVEN = "not proven"
DIFFERS = "differs from its plan"
NO_PLAN = "no plan"
PLANNED = "planned"
AS_PLANNED = "as planned"
STATES = (UNREACHABLE, FAILED, NOT_FINISHED, NOT_AS_PLANNED, NOT_PROVEN, DIFFERS, NO_PLAN, PLANNED, AS_PLANNED)


@dataclass(frozen=True)
class MemoryParts:
    """How the memory of a GPU is divided.

    Attributes:
        models_bytes: what the models of the plan hold, all parts together.
        weights_bytes: of their weights, projectors, adapters and draft models.
        kv_bytes: of their KV caches.
        compute_bytes: of compute buffers and CUDA contexts.
        others_bytes: what other programs and the driver hold.
        free_bytes: the rest.
    """

    models_bytes: Optional[int] = None
    weights_bytes: Optional[int] = None
    kv_bytes: Optional[int] = None
    compute_bytes: Optional[int] = None
    others_bytes: Optional[int] = None
    free_bytes: Optional[int] = None


@dataclass(frozen=True)
class GpuReport:
    """A GPU or MIG device.

    Attributes:
        uuid: of NVML.
        label: how people call it: "GPU 0".
        name: of the board.
        pci_bus_id: in the form of sysfs.
        total_bytes: of its memory.
        predicted: by the plan; None for a GPU that the plan does not have.
        observed: by NVML; None where it was not read.
        models: names that clients use.
        health: "ok", "degraded" or "unusable".
        notes: why it is left out, and what is wrong with it.
    """

    uuid: str
    label: str
    name: str = ""
    pci_bus_id: str = ""
    total_bytes: Optional[int] = None
    predicted: Optional[MemoryParts] = None
    observed: Optional[MemoryParts] = None
    models: list[str] = field(default_factory=list)
    health: str = "ok"
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelReport:
    """A model of an instance.

    Attributes:
        name: that the instance serves.
        further_names: that clients may use as well.
        strategy: that was chosen.
        context_length: tokens of a slot.
        slots: requests at once.
        kv_cache_type: of llama.cpp.
        gpu_layers: layers on GPUs, of `total_layers`.
        total_layers: of the model.
        predicted_bytes: on all GPUs of the instance.
        observed_bytes: on all of them; None where it was not checked.
        verdict: of the evidence, "" without one.
        tokens_per_second: of the last generation of a check.
        load_seconds: of the last load of a check.
        problems: checks that did not pass, as sentences.
    """

    name: str
    further_names: list[str] = field(default_factory=list)
    strategy: str = ""
    context_length: Optional[int] = None
    slots: Optional[int] = None
    kv_cache_type: str = ""
    gpu_layers: Optional[int] = None
    total_layers: Optional[int] = None
    predicted_bytes: Optional[int] = None
    observed_bytes: Optional[int] = None
    verdict: str = ""
    tokens_per_second: Optional[float] = None
    load_seconds: Optional[float] = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class InstanceReport:
    """An instance of a plan.

    Attributes:
        name: "gpu0-1".
        url: for clients; "" where no address is known that they could use.
        on: its GPUs in words.
        models: of it.
        settings: {variable: value} of its service.
        problems: checks of the instance as a whole that did not pass, as sentences.
    """

    name: str
    url: str = ""
    on: str = ""
    models: list[ModelReport] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FindingReport:
    """What is wrong, what shows it, and what to do. `where` is an instance, a model or a GPU; "" for the host."""

    finding: str
    where: str
    evidence: str
    remedy: str


@dataclass(frozen=True)
class HistoryEntry:
    """A verdict that a host has had.

    Attributes:
        time: in UTC ("2026-11-28T22:40:00Z").
        source: what found it: "plan 3", "check on the host", "run".
        release: of Ollama; "" where it is not known.
        verdict: "pass", "fail" or "unproven".
        tokens_per_second: {"MODEL on INSTANCE": of its generation}.
    """

    time: str
    source: str
    release: str
    verdict: str
    tokens_per_second: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """What repeats have measured: the median, and the quartiles between which the middle half is."""

    median: float
    q1: float
    q3: float


@dataclass(frozen=True)
class LoadRow:
    """How long a load of a model takes on instances, or on an untouched Ollama."""

    model: str
    on: list[str]
    is_untouched: bool
    seconds: Optional[Figure]


@dataclass(frozen=True)
class MeasuredRow:
    """What a benchmark has measured of a model.

    Attributes:
        model: as the plan serves it.
        on: instances that were asked at the same time.
        is_untouched: whether it was an untouched Ollama in their place.
        prompt: about how many tokens the prompts have.
        streams: requests at the same time.
        first_token_seconds: with the reading of the prompt.
        tokens_per_second: of all requests together.
        requests_per_minute: of all of them.
    """

    model: str
    on: list[str]
    is_untouched: bool
    prompt: int
    streams: int
    first_token_seconds: Optional[Figure]
    tokens_per_second: Optional[Figure]
    requests_per_minute: Optional[Figure]


@dataclass(frozen=True)
class SpeedEntry:
    """A benchmark of a host: its `time`, `label` and `release`, and the most tokens per second of each model."""

    time: str
    label: str
    release: str
    tokens_per_second: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkReport:
    """The newest benchmark of a host, and the `history` of its kept ones, the newest at the end.

    `notes` are sentences about what was not measured, or while others were served.
    """

    time: str
    label: str = ""
    release: str = ""
    loads: list[LoadRow] = field(default_factory=list)
    rows: list[MeasuredRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    history: list[SpeedEntry] = field(default_factory=list)


@dataclass(frozen=True)
class HostReport:
    """A host of the fleet.

    Attributes:
        name: in the inventory.
        state: one of STATES.
        reason: of the state, "" where it needs none.
        ollama_version: of its plan.
        driver_version: of NVIDIA.
        cuda_version: of the driver.
        architecture: of the machine.
        address: by which it reaches others.
        gpus: all of them.
        instances: of its plan.
        why: {model: why the plan puts it where it is}.
        findings: of this run.
        changes: what this run changed, or, where `is_drift`, what differs from the plan.
        is_drift: see `changes`.
        notes: warnings of its plan.
        history: of its verdicts, the last at the end.
        benchmark: None where none was kept.
    """

    name: str
    state: str
    reason: str = ""
    ollama_version: str = ""
    driver_version: str = ""
    cuda_version: str = ""
    architecture: str = ""
    address: str = ""
    gpus: list[GpuReport] = field(default_factory=list)
    instances: list[InstanceReport] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)
    findings: list[FindingReport] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    is_drift: bool = False
    notes: list[str] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    benchmark: Optional[BenchmarkReport] = None


@dataclass(frozen=True)
class Since:
    """What is other than in the report of `time`: a phrase for each thing, by host. `time` is "" for the first one."""

    time: str = ""
    changes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class FleetReport:
    """The whole report.

    Attributes:
        time: of the report, in UTC.
        complete: whether the run came to its end.
        hosts: in the order in which they are shown.
        settings: {release: {setting: what it does there}}.
        since: compared with the last complete report.
        baseline: what the next report is compared with, where this one is not complete; see fleet_report/since.py.
        version: REPORT_VERSION.
    """

    time: str
    complete: bool
    hosts: list[HostReport] = field(default_factory=list)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    since: Since = field(default_factory=Since)
    baseline: dict[str, object] = field(default_factory=dict)
    version: int = REPORT_VERSION

    @property
    def counts(self) -> dict[str, int]:
        """Hosts by state, in the order of STATES."""
        found = {state: sum(1 for host in self.hosts if host.state == state) for state in STATES}
        return {state: count for state, count in found.items() if count}
