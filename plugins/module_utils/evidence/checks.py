# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Check what was observed on a host against the plan: the checks of every model, and the verdict. Pure.

A check passes, fails, or is unknown. Unknown is not proven: the verdict is "pass" only if every check passed that is
required, and taking evidence away never turns another verdict into it. Nothing that the engine or the server says of
itself can pass a model; see comparison.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ..common.sizes import gib
from ..gpu.names import gpu_names, with_names
from . import (
    answer_checks,
    closed_nodes,
    engine_log,
    guarded,
    instance_checks,
    model_identity,
    model_memory,
    server_identity,
)
from . import comparison as states
from .comparison import Comparison
from .findings import explain
from .host_view import HostView
from .instance_checks import InstanceComparison
from .model_memory import GpuMemory
from .planned import instances_of
from .shapes import (
    FAIL,
    PASS,
    Check,
    DeviceEvidence,
    Evidence,
    Finding,
    InstanceEvidence,
    ModelEvidence,
    Observations,
    ObservedInstance,
    verdict_of,
)


def check_plan(plan: dict[str, Any], observations: Observations, only: Collection[str] | None = None) -> Evidence:
    """Return the evidence for a plan.

    Args:
        plan: of placement_info.
        observations: what `collect` gathered for it.
        only: names of the instances to check; None for all of them.
    """
    host = HostView.of(plan, observations)
    instances: list[InstanceEvidence] = []
    diagnosis: list[Finding] = []
    for instance in instances_of(plan, only):
        observed = observations.instances.get(instance["name"]) or ObservedInstance()
        whole = InstanceComparison(instance, observed, host)
        server = server_identity.ServerIdentity(instance, observed, host.release)
        checks = server_identity.check_server(server) + instance_checks.check_instance(whole)
        checks += guarded.check(instance, host.rules)
        models: list[ModelEvidence] = []
        found: list[Finding] = []
        for model in instance["models"]:
            comparison = Comparison(instance, model, observed, host)
            evidence = _model_evidence(comparison)
            models.append(evidence)
            found.extend(explain(comparison, evidence.checks))
        found += instance_checks.explain(whole, not found)
        nodes = closed_nodes.explain(instance["name"], instance["unit"], observed.closed_nodes, found)
        diagnosis += nodes + server_identity.explain(server, found)
        diagnosis += guarded.explain(instance, host.rules, observed.reachable)
        instances.append(InstanceEvidence(instance["name"], instance["unit"], instance["url"], checks, models))
    names = gpu_names(observations.inventory, plan)
    named = [replace(finding, evidence=with_names(finding.evidence, names)) for finding in diagnosis]
    return Evidence(_verdict(instances, diagnosis), instances, named)


def _verdict(instances: list[InstanceEvidence], diagnosis: list[Finding]) -> str:
    checks = [check for instance in instances for check in instance.checks]
    checks += [check for instance in instances for model in instance.models for check in model.checks]
    verdict = verdict_of(checks)
    return FAIL if verdict == PASS and diagnosis else verdict


def check_model(comparison: Comparison) -> list[Check]:
    """Return the checks of one model. Without its GPUs or its engine, only the check that says so is made."""
    checks = _gpus_seen(comparison)
    if any(check.passed is False for check in checks):
        return checks
    checks += _serving(comparison)
    if comparison.serving() != states.SERVES:
        return checks
    checks += answer_checks.check_answer(comparison)
    checks += model_identity.check_model(
        model_identity.ModelIdentity(comparison.model, comparison.observed)
    ) + _settings(comparison)
    if not comparison.planned:
        return checks + [_cpu_only(comparison), _cpu_buffers(comparison)]
    for part in (_memory, _layers, _engine_figures, _utilization, _foreign_memory):
        checks += part(comparison)
    return checks


def _gpus_seen(comparison: Comparison) -> list[Check]:
    """Every planned GPU is listed by the driver and can be used."""
    if not comparison.planned:
        return []
    planned = comparison.planned_text()
    problem, missing, unusable = (comparison.host.problem(), comparison.missing_gpus(), comparison.unusable_gpus())
    if not comparison.host.is_known:
        return [Check("gpus_seen", None, planned, "unknown")]
    if problem:
        return [Check("gpus_seen", False, planned, "none: %s" % problem)]
    if missing:
        return [Check("gpus_seen", False, planned, "without %s" % ", ".join(missing))]
    if unusable:
        return [Check("gpus_seen", False, planned, "unusable: %s" % ", ".join(unusable))]
    if comparison.gpus_listed_twice():
        return [Check("gpus_seen", None, planned, "listed twice: %s" % ", ".join(comparison.gpus_listed_twice()))]
    if comparison.gpus_without_health():
        return [Check("gpus_seen", None, planned, "unknown health: %s" % ", ".join(comparison.gpus_without_health()))]
    return [Check("gpus_seen", True, planned, planned)]


def _serving(comparison: Comparison) -> list[Check]:
    """The service runs, the server lists the model as loaded, its engine lives and answers."""
    observed, name = comparison.observed, comparison.name
    active, state = comparison.instance.unit.get("ActiveState"), comparison.serving()
    service = Check("service", None if active is None else active == "active", "active", active)
    failures = {
        states.SERVICE_NOT_ACTIVE: "%s is %s" % (comparison.unit, active),
        states.SERVER_NOT_REACHABLE: comparison.instance.error,
        states.WOULD_EVICT: ", ".join(observed.would_evict),
        states.NO_MEMORY_BY_OTHERS: observed.load_error,
        states.LOAD_FAILED: observed.load_error,
        states.NOT_LOADED: "not loaded",
    }
    if state == states.ON_DEMAND:
        # The next request may load it at any time; while it is loaded, it is checked like every other model.
        return [service, Check("loaded", None, "on demand", "not loaded", required=False)]
    if state in failures:
        return [service, Check("loaded", False, name, failures[state])]
    checks = [service] + ([Check("loaded", True, name, name)] if observed.loaded else [])
    if state == states.ENGINE_DIED:
        return checks + [Check("engine_alive", False, "alive", comparison.death())]
    if state == states.NO_ANSWER:
        return checks + [Check("generation", False, "an answer", observed.generation_error)]
    process = "process %s" % observed.engine.pid if observed.engine else "no process of the unit is known"
    alive = True if observed.engine and observed.stayed else None
    checks.append(Check("engine_alive", alive, "alive", process))
    if observed.not_generated:
        return checks + [Check("generation", None, "an answer", observed.not_generated, required=False)]
    answered = observed.answered or None
    return checks + [Check("generation", answered, "an answer", "an answer" if answered else "unknown")]


def _settings(comparison: Comparison) -> list[Check]:
    """The model is loaded with the planned context length, and its engine runs with the planned settings."""
    planned, loaded = comparison.context_lengths()
    checks = []
    if planned:
        passed = None if loaded is None else not comparison.context_differs()
        checks.append(Check("context_length", passed, planned, loaded))
    return checks + [
        Check("setting " + one.name, one.matches, one.planned, one.observed) for one in comparison.settings()
    ]


def _cpu_only(comparison: Comparison) -> Check:
    """A model that is planned for the CPU holds nothing on any GPU."""
    nothing, memory = "no memory of a GPU", comparison.memory
    if comparison.host.has_no_gpu:
        return Check("cpu_only", True, nothing, nothing)
    if memory.off_plan():
        return Check("cpu_only", False, nothing, comparison.held_text())
    if not comparison.host.is_known or comparison.host.problem() or comparison.observed.engine is None:
        return Check("cpu_only", None, nothing, comparison.host.problem() or "the process of the engine is not known")
    if memory.off_plan_unknown():
        return Check("cpu_only", None, nothing, "NVML lists no processes on %s" % ", ".join(memory.off_plan_unknown()))
    return Check("cpu_only", True, nothing, nothing)


def _cpu_buffers(comparison: Comparison) -> Check:
    """The engine of a model that is planned for the CPU logged no buffer on a GPU, of whatever maker."""
    log, elsewhere = comparison.observed.log, comparison.memory.buffers_off_plan()
    required, nothing = not comparison.observed.log_missing, "no buffer on a GPU"
    if log is None or not log.buffers:
        return Check("cpu_buffers", None, nothing, _log_missing(comparison), required)
    return Check("cpu_buffers", not elsewhere, nothing, _sizes(elsewhere) or nothing)


def _memory(comparison: Comparison) -> list[Check]:
    """NVML shows the predicted memory on every planned GPU, and nothing on another GPU."""
    memory, checks = comparison.memory, []
    found = memory.by_gpu()
    for gpu in found:
        expected = "%s to %s" % (gib(gpu.limits.least_bytes), gib(gpu.limits.most_bytes))
        passed = None if gpu.state == model_memory.UNKNOWN else gpu.state == model_memory.AS_PLANNED
        checks.append(Check("memory " + gpu.uuid, passed, expected, observed_text(gpu)))
    total = memory.total()
    sizes = [gpu.observed_bytes for gpu in found]
    if total and None not in sizes:
        held = sum(size or 0 for size in sizes)
        expected = "%s to %s" % (gib(total.least_bytes), gib(total.most_bytes))
        checks.append(Check("memory", held >= total.least_bytes, expected, gib(held)))
    elsewhere, unknown = memory.off_plan() + sorted(memory.buffers_off_plan()), memory.off_plan_unknown()
    if elsewhere or unknown:
        observed = ", ".join(elsewhere) or "unknown on %s" % ", ".join(unknown)
        checks.append(Check("only_planned_gpus", False if elsewhere else None, comparison.planned_text(), observed))
    else:
        checks.append(Check("only_planned_gpus", True, comparison.planned_text(), comparison.planned_text()))
    return checks


def observed_text(gpu: GpuMemory) -> str:
    """Return in words what is known of the model's memory on a GPU, and by what."""
    if gpu.by == model_memory.BY_PROCESS:
        return gib(gpu.observed_bytes)
    if gpu.by == model_memory.BY_GROWTH:
        return "%s in use, which has grown by the model" % gib(gpu.held.most_bytes)
    if gpu.by == model_memory.BY_TOTAL and gpu.state == model_memory.AS_PLANNED:
        return "%s in use by this process alone" % gib(gpu.held.most_bytes)
    return "at most %s" % gib(gpu.held.most_bytes)


def _layers(comparison: Comparison) -> list[Check]:
    """The engine's log and the server's sizes do not show layers on the CPU."""
    log, why = comparison.observed.log, _log_missing(comparison)
    wanted = "%s/%s" % (comparison.predicted.get("gpu_layers"), comparison.predicted.get("total_layers"))
    required = not comparison.observed.log_missing
    if log is None or log.layers is None:
        checks = [Check("layers", None, wanted, why, required)]
    else:
        logged = "%d/%d" % (log.layers, log.layers_total or 0)
        checks = [Check("layers", not comparison.layers_missing(), wanted, logged)]
    if log and log.buffers:
        buffers = _sizes(log.buffers)
        on_gpu = sum(size for device, size in log.buffers.items() if engine_log.is_gpu(device))
        checks.append(Check("gpu_buffers", bool(on_gpu), "buffers on a GPU", buffers))
    else:
        checks.append(Check("gpu_buffers", None, "buffers on a GPU", why, required))
    size, vram = comparison.sizes_of_server()
    expected = "all of size" if comparison.fully_on_gpu else "above 0"
    observed = "%s of %s" % (gib(vram), gib(size))
    checks.append(Check("size_vram", comparison.size_vram_is_enough(), expected, observed))
    return checks


def _sizes(buffers: dict[str, int]) -> str:
    return ", ".join("%s %s" % (device, gib(size)) for device, size in sorted(buffers.items()))


def _log_missing(comparison: Comparison) -> str:
    return comparison.observed.log_missing or comparison.instance.journal_problem or "unknown"


def _engine_figures(comparison: Comparison) -> list[Check]:
    """The engine put the planned weights and KV cache on each GPU, and expected no more than the plan keeps free."""
    runs = {run.uuid: run for run in comparison.dry_runs()}
    off = {device["uuid"] for device in comparison.placed_otherwise()}
    exact, checks = comparison.memory.engine_exact(), []
    required = not comparison.observed.log_missing
    for device in comparison.predicted_devices:
        uuid, run = device["uuid"], runs.get(device["uuid"])
        if run is None:
            told = comparison.makes_no_dry_run()
            why = "LLAMA_ARG_FIT is off" if told else _log_missing(comparison)
            name, expected = "engine_dry_run " + uuid, "printed by the engine"
            checks.append(Check(name, None, expected, why, required and not told))
        else:
            observed = gib(run.engine_bytes)
            checks.append(
                Check("engine_dry_run " + uuid, not run.is_above, "at most %s" % gib(run.most_bytes), observed)
            )
        if device.get("layers"):
            planned = gib(comparison.memory.planned_exact(device))
            placed = uuid not in off if uuid in off or comparison.memory.has_logged_parts(device) else None
            checks.append(Check("engine_weights " + uuid, placed, planned, gib(exact.get(uuid)), required))
    return checks


def _utilization(comparison: Comparison) -> list[Check]:
    """Every planned GPU with a layer computed at least once while the model generated."""
    checks, skipped = [], comparison.observed.not_generated
    for busy in comparison.busy():
        percent = "unknown" if busy.percent is None else "%d %%" % busy.percent
        if busy.others and not busy.computed:
            percent = "%s by process %s" % (percent, ", ".join(str(pid) for pid in busy.others))
        elif skipped or not busy.is_supported:
            percent = skipped or "not supported by this GPU"
        required = busy.is_needed or not (skipped or not busy.is_supported)
        checks.append(Check("utilization " + busy.uuid, busy.computed, "above 0 %", percent, required))
    return checks


def _foreign_memory(comparison: Comparison) -> list[Check]:
    """Other processes have not taken the headroom that the plan keeps free."""
    expected = "no more than at planning"
    kept = list(comparison.headroom_kept().values())
    passed = False if False in kept else None if None in kept else True
    grown = ", ".join("%s: %s more" % (growth.uuid, gib(growth.grown_bytes)) for growth in comparison.headroom_taken())
    return [Check("foreign_memory", passed, expected, grown or (expected if passed else "unknown"))]


def _model_evidence(comparison: Comparison) -> ModelEvidence:
    observed, checks = comparison.observed, check_model(comparison)
    log, on_cpu = observed.log, not comparison.planned
    total = log.layers_total if log else None
    return ModelEvidence(
        name=comparison.name,
        verdict=verdict_of(checks),
        checks=checks,
        devices=_devices(comparison),
        layers_offloaded=0 if on_cpu else log.layers if log else None,
        layers_total=comparison.predicted.get("total_layers") if total is None else total,
        tokens_per_second=observed.tokens_per_second,
        load_seconds=observed.load_seconds,
        notes=[observed.reloaded] if observed.reloaded else [],
    )


def _devices(comparison: Comparison) -> list[DeviceEvidence]:
    """Return the planned GPUs, then those outside the plan where NVML lists the model."""
    memory, engine = comparison.memory, comparison.engine_bytes()
    peaks = comparison.observed.utilization_peak or {}
    observed = {gpu.uuid: gpu.observed_bytes for gpu in memory.by_gpu()}
    cache, compute = comparison.engine_parts()
    devices = []
    for device in comparison.predicted_devices:
        uuid, limits = device["uuid"], memory.limits(device["uuid"])
        devices.append(
            DeviceEvidence(
                uuid=uuid,
                layers=device.get("layers") or 0,
                predicted_bytes=device.get("total_bytes"),
                engine_bytes=engine.get(uuid),
                observed_bytes=observed.get(uuid) if uuid in comparison.host.devices else None,
                context_bytes=device.get("overhead_bytes") or 0,
                projector_bytes=device.get("projector_bytes") or 0,
                least_bytes=limits.least_bytes,
                most_bytes=limits.most_bytes,
                utilization_peak=peaks.get(uuid),
                engine_kv_bytes=cache.get(uuid),
                engine_compute_bytes=compute.get(uuid),
            )
        )
    for uuid in memory.off_plan():
        devices.append(
            DeviceEvidence(uuid, 0, 0, engine.get(uuid), memory.held[uuid].exact_bytes, 0, 0, 0, 0, peaks.get(uuid))
        )
    return devices
