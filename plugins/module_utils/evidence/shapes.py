# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Shapes of what is observed on a host, and of the evidence that placement_check returns. Pure.

`Observations` is what `collect` gathers. `Evidence` is what `checks` makes of it; `dataclasses.asdict` of an Evidence
is the result of the module. Bytes are integers named `*_bytes`; unknown is None, never 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common.names import key_of
from ..common.openings import Opening

# -- observed on the host ----------------------------------------------------------------------------------------------

#: The kernel adds it to the name of a file that was deleted or replaced (proc(5), /proc/PID/exe and maps).
DELETED = " (deleted)"


@dataclasses.dataclass(frozen=True)
class EngineProcess:
    """A process that serves one model (llama-server, or the runner of earlier releases).

    `model_file` is the base name of the model's blob ("sha256-..."), `port` the engine's own port, and `started` its
    start in clock ticks since boot. `arguments` is [] where they cannot be read. `environment` holds the variables that
    concern GPUs and Ollama, None where they cannot be read. `parent` is the process that started it; 1 where that one
    has ended. `executable` is the file that it runs, None where it cannot be read. `mapped` are the models and the
    libraries of llama.cpp that it has mapped into its memory (with " (deleted)" where the file is no longer that one);
    None where they cannot be read.
    """

    pid: int
    model_file: str
    port: int | None
    arguments: list[str]
    started: int
    environment: dict[str, str] | None = dataclasses.field(default_factory=dict)
    parent: int | None = None
    executable: str | None = None
    mapped: list[str] | None = None

    def is_process(self, other: EngineProcess | None) -> bool:
        """Return whether another one is the same process. What it has mapped changes while a model is loaded."""
        return other is not None and (self.pid, self.started) == (other.pid, other.started)


@dataclasses.dataclass(frozen=True)
class LoggedDevice:
    """A device that the engine says it uses; `pci_bus_id` is None where the log has no PCI address."""

    name: str
    pci_bus_id: str | None


@dataclasses.dataclass(frozen=True)
class EngineLog:
    """What an engine logged while it loaded a model; devices are named as in the log ("CUDA0", "CPU").

    `dry_run` is what the engine expected to use on each GPU and `dry_run_host` in host memory; `buffers` is what it
    allocated. `compute` is the part of `buffers` that is for intermediate values, the projector's included, and `cache`
    the part that is KV cache and recurrent state. `layers` of `layers_total` are on GPUs by its own account. `error` is
    why it ended, as Ollama logged it.
    """

    devices: dict[str, LoggedDevice] = dataclasses.field(default_factory=dict)
    dry_run: dict[str, int] = dataclasses.field(default_factory=dict)
    dry_run_host: int | None = None
    buffers: dict[str, int] = dataclasses.field(default_factory=dict)
    compute: dict[str, int] = dataclasses.field(default_factory=dict)
    cache: dict[str, int] = dataclasses.field(default_factory=dict)
    layers: int | None = None
    layers_total: int | None = None
    load_seconds: float | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model answered to the one question that all are asked, without chance.

    Attributes:
        server: the unit of its server.
        content: what replicas have in common: the answers of models with the same content can be compared.
        tokens: (text, log-probability, likeliest tokens there as (text, log-probability)); () on releases that do not
            tell (before 0.12.11). The text of a token that is a part of a letter is its bytes, U+FFFD where the release
            does not tell them.
        vector: that of an embedding model, None for another one.
        width: how many numbers the vector has to have, None where that is not known.
        error: why there is no answer.
    """

    server: str
    model: str
    content: str
    text: str = ""
    tokens: tuple[tuple[str, float | None, tuple[tuple[str, float | None], ...]], ...] = ()
    vector: tuple[Any, ...] | None = None
    width: int | None = None
    error: str | None = None


@dataclasses.dataclass
class ObservedModel:
    """What was observed of one model of the plan. `collect` fills it in step by step.

    None means that nothing is known. What is known to be missing has a field of its own that says why: `log_missing`
    (the journal can be read and has no lines of the engine's start) and `not_generated` (a generation was not wanted,
    or the model is none that generates).

    `ps` is the model's entry in /api/ps. `would_evict` names the models that loading this one could evict. `died` says
    how its engine ended; `stayed` is True where the engine that was found first was still there at the end. `fresh` is
    True if this check loaded it, and `reloaded` says why it did so although the server listed the model.
    `device_uuids` maps the log's devices to UUIDs ({"CUDA0": "GPU-..."}). `answered` is whether the generation gave an
    answer, and `answer` what it is; `vectors_only` is whether it is an embedding model. `served_file` is the base name
    of the blob that the server has under the model's name, and `base_file` that under the name of the model that the
    plan makes it from; `stored_digest` is the digest of its manifest in the store. `parameters` are those that the
    server has for it.
    `alias_digests` are the digests that its aliases have there, None for one that the store does not have.
    `utilization_peak` is in percent by UUID; `busy_processes` {uuid: {pid: percent}} is the same by process.
    """

    loaded: bool = False
    load_error: str | None = None
    would_evict: list[str] = dataclasses.field(default_factory=list)
    ps: dict[str, Any] | None = None
    engine: EngineProcess | None = None
    died: str | None = None
    stayed: bool | None = None
    fresh: bool = False
    reloaded: str | None = None
    log: EngineLog | None = None
    log_missing: str | None = None
    device_uuids: dict[str, str] = dataclasses.field(default_factory=dict)
    load_seconds: float | None = None
    tokens_per_second: float | None = None
    answered: bool | None = None
    answer: Answer | None = None
    vectors_only: bool = False
    not_generated: str | None = None
    generation_error: str | None = None
    utilization_peak: dict[str, int | None] | None = None
    busy_processes: dict[str, dict[int, int] | None] | None = None
    served_file: str | None = None
    base_file: str | None = None
    stored_digest: str | None = None
    parameters: dict[str, Any] | None = None
    alias_digests: dict[str, str | None] | None = None


@dataclasses.dataclass
class ObservedInstance:
    """What was observed of one instance of the plan.

    `error` says why the server is not reachable, `journal_problem` why its journal cannot be read. `unit` holds the
    properties of its service (systemctl show), `loaded` the names in /api/ps (None where they are unknown), and
    `models` the models of the plan by the name they are served under.

    `version` is what the server says that it is, `listener` the process that listens at its address (host/listeners.py)
    and `executable` what its process runs; `runs_next` is whether its unit would start that
    one (True where it starts another program that starts the server). `differences` names the
    variables ({name, difference}) that are other than planned, in the process or at its next start. `closed_nodes` are
    the device nodes of its GPUs that the service cannot open, with the reasons (host/device_nodes.py).
    """

    reachable: bool = False
    error: str | None = None
    unit: dict[str, str] = dataclasses.field(default_factory=dict)
    journal_problem: str | None = None
    loaded: list[str] | None = None
    models: dict[str, ObservedModel] = dataclasses.field(default_factory=dict)
    version: str | None = None
    listener: dict[str, Any] | None = None
    executable: str | None = None
    runs_next: bool | None = None
    differences: list[dict[str, str]] | None = None
    closed_nodes: dict[str, str] = dataclasses.field(default_factory=dict)

    def names_of_planned(self) -> set[str]:
        """Keys (common/names.key_of) of the names under which the models of the plan are served, or listed as loaded:
        a server lists a model by the name under which it was loaded."""
        listed = [found.ps["name"] for found in self.models.values() if found.ps and found.ps.get("name")]
        return {key_of(name) for name in [*self.models, *listed]}


@dataclasses.dataclass(frozen=True)
class Rules:
    """The host's rules of who may connect to its instances, as host/firewall.py tells them.

    `wanted` is the digest of those in the file, None where it has none, and `fault` what is wrong with that file; both
    are None on a host without rules. `loaded` is the digest of those in force, "" where these are not as the collection
    writes them, None where there are none; `ports` are the ports that they guard. `problem` is why it is not known what
    is in force. `closed` are the clients of the rules in the file that ufw keeps out, None where it is not in force or
    that is not known.
    """

    wanted: str | None = None
    fault: str | None = None
    loaded: str | None = None
    ports: tuple[int, ...] = ()
    problem: str | None = None
    closed: tuple[Opening, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Observations:
    """What was observed for a plan: the GPU facts (fact `gpu_inventory`), the instances by name and the rules of who
    may connect to them.

    `used_before` is {uuid: bytes} in use on each GPU before this check loaded anything; {} where it loaded nothing.
    """

    inventory: dict[str, Any]
    instances: dict[str, ObservedInstance]
    used_before: dict[str, int | None] = dataclasses.field(default_factory=dict)
    rules: Rules = Rules()


# -- result of placement_check -----------------------------------------------------------------------------------------


#: Verdicts. A model is unproven if nothing contradicts the plan, and something that has to show it is unknown.
PASS, FAIL, UNPROVEN = "pass", "fail", "unproven"


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison of the plan with the host.

    `passed` is None where the host cannot tell; a check that is `required` is then unproven. The others are those of
    which it is known why they cannot be made, and that something stronger has been checked.
    """

    name: str
    passed: bool | None
    expected: Any
    observed: Any
    required: bool = True


def verdict_of(checks: list[Check]) -> str:
    """Return FAIL if a check failed, else UNPROVEN if one that is required is unknown, else PASS."""
    if any(check.passed is False for check in checks):
        return FAIL
    return UNPROVEN if any(check.passed is None and check.required for check in checks) else PASS


@dataclasses.dataclass(frozen=True)
class Finding:
    """Why checks failed or are unproven: the kind of finding, what was seen, and what to do about it.

    `model` is "" for a finding about the whole instance.
    """

    finding: str
    evidence: str
    remedy: str
    instance: str
    model: str


@dataclasses.dataclass(frozen=True)
class DeviceEvidence:
    """Memory of one model on one GPU: predicted by the plan, expected by the engine, observed by NVML.

    `layers` is the number of layers that the plan has there. `engine_bytes` has neither `context_bytes` (of CUDA) nor
    `projector_bytes` (with the figure of the plan); `observed_bytes` has both. `least_bytes` and `most_bytes` are the
    limits that the observed bytes were held to. `engine_kv_bytes` and `engine_compute_bytes` are what the engine
    allocated by its log for its KV cache and its compute buffers; None where it does not say it.
    """

    uuid: str
    layers: int
    predicted_bytes: int | None
    engine_bytes: int | None
    observed_bytes: int | None
    context_bytes: int
    projector_bytes: int
    least_bytes: int
    most_bytes: int
    utilization_peak: int | None
    engine_kv_bytes: int | None = None
    engine_compute_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class ModelEvidence:
    """The evidence of one model.

    `layers_offloaded` of `layers_total` are on GPUs: by the engine's log where NVML has confirmed that it is there, and
    0 for a model that runs on the CPU.
    `notes` are sentences about what is no fault of the placement and should be known.
    """

    name: str
    verdict: str
    checks: list[Check]
    devices: list[DeviceEvidence]
    layers_offloaded: int | None
    layers_total: int | None
    tokens_per_second: float | None
    load_seconds: float | None
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class InstanceEvidence:
    """The evidence of one instance; `checks` are those of the instance as a whole."""

    name: str
    unit: str
    url: str
    checks: list[Check]
    models: list[ModelEvidence]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence of a whole plan. `verdict` is "pass" only if every check passed that is required."""

    verdict: str
    instances: list[InstanceEvidence]
    diagnosis: list[Finding]
