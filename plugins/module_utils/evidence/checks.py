# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Check what was observed on a host against the plan: the checks of every model, and the verdict. Pure.

Nothing that the engine or the server says of itself can pass a model; see comparison.py.
"""

from __future__ import annotations

from typing import Any

from ..common.sizes import gib
from . import comparison as states
from . import engine_log, tolerances
from .comparison import Comparison, HostView
from .findings import explain
from .shapes import (
    Check,
    DeviceEvidence,
    Evidence,
    Finding,
    InstanceEvidence,
    ModelEvidence,
    Observations,
    ObservedInstance,
)

PASS, FAIL = "pass", "fail"


def check_plan(plan: dict[str, Any], observations: Observations) -> Evidence:
    """Return the evidence for a plan.

    Args:
        plan: of placement_info.
        observations: what `collect` gathered for it.

    Returns:
        The evidence, with the verdict "pass" only if no check of any model failed. A check that the host cannot answer
        (`passed` is None) fails nothing.
    """
    host = HostView.of(plan, observations.inventory)
    instances: list[InstanceEvidence] = []
    diagnosis: list[Finding] = []
    for instance in plan.get("instances") or []:
        observed = observations.instances.get(instance["name"]) or ObservedInstance()
        models = []
        for model in instance["models"]:
            comparison = Comparison(instance, model, observed, host)
            models.append(_model_evidence(comparison))
            diagnosis.extend(explain(comparison))
        instances.append(InstanceEvidence(instance["name"], instance["unit"], instance["url"], models))
    checks = [check for instance in instances for model in instance.models for check in model.checks]
    failed = bool(diagnosis) or any(check.passed is False for check in checks)
    return Evidence(FAIL if failed else PASS, instances, diagnosis)


def check_model(comparison: Comparison) -> list[Check]:
    """Return the checks of one model. Without its GPUs or its engine, only the check that says so is made."""
    checks = _gpus_seen(comparison)
    if not all(check.passed for check in checks):
        return checks
    checks += _serving(comparison)
    if comparison.serving() != states.SERVES:
        return checks
    checks.append(_context_length(comparison))
    if not comparison.planned:
        return checks + [_cpu_only(comparison)]
    for part in (_memory, _layers, _dry_run, _utilization, _foreign_memory):
        checks += part(comparison)
    return checks


def _gpus_seen(comparison: Comparison) -> list[Check]:
    """Every planned GPU is listed by the driver and can be used."""
    if not comparison.planned:
        return []
    planned = comparison.planned_text()
    problem, missing, unusable = (comparison.inventory_problem(), comparison.missing_gpus(), comparison.unusable_gpus())
    if problem:
        return [Check("gpus_seen", False, planned, "none: %s" % problem)]
    if missing:
        return [Check("gpus_seen", False, planned, "without %s" % ", ".join(missing))]
    if unusable:
        return [Check("gpus_seen", False, planned, "unusable: %s" % ", ".join(unusable))]
    return [Check("gpus_seen", True, planned, planned)]


def _serving(comparison: Comparison) -> list[Check]:
    """The server lists the model as loaded; its engine lives and answers."""
    observed, name = comparison.observed, comparison.name
    state = comparison.serving()
    failures = {
        states.SERVICE_NOT_ACTIVE: "%s is %s" % (comparison.unit, comparison.instance.unit.get("ActiveState")),
        states.SERVER_NOT_REACHABLE: comparison.instance.error,
        states.WOULD_EVICT: ", ".join(observed.would_evict),
        states.NO_MEMORY_BY_OTHERS: observed.load_error,
        states.LOAD_FAILED: observed.load_error,
        states.NOT_LOADED: "not loaded",
    }
    if state in failures:
        return [Check("loaded", False, name, failures[state])]
    checks = [Check("loaded", True, name, name)] if observed.loaded else []
    if state == states.ENGINE_DIED:
        return checks + [Check("engine_alive", False, "alive", comparison.death())]
    if state == states.NO_ANSWER:
        return checks + [Check("generation", False, "an answer", observed.generation_error)]
    process = "process %s" % observed.engine.pid if observed.engine else "no process of the unit is known"
    return checks + [Check("engine_alive", True, "alive", process)]


def _context_length(comparison: Comparison) -> Check:
    """The model is loaded with the planned context length."""
    planned, loaded = comparison.context_lengths()
    if not planned or loaded is None:
        return Check("context_length", None, planned, loaded)
    return Check("context_length", not comparison.context_differs(), planned, loaded)


def _cpu_only(comparison: Comparison) -> Check:
    """A model that is planned for the CPU holds no more than a bare context on any GPU."""
    nothing = "no memory of a GPU"
    return Check(
        "cpu_only", not comparison.holds_gpu_memory(), nothing, comparison.held_text() if comparison.held else nothing
    )


def _memory(comparison: Comparison) -> list[Check]:
    """NVML lists the predicted memory on every planned GPU, and no layers on another GPU."""
    checks = []
    for gpu in comparison.memory_by_gpu():
        expected = "%s (within %s)" % (gib(gpu.predicted_bytes), gib(tolerances.tolerance(gpu.predicted_bytes)))
        if gpu.state == states.UNKNOWN:
            why = "NVML lists the engine without its memory"
            checks.append(Check("memory " + gpu.uuid, None, expected, why))
        else:
            passed = gpu.state == states.AS_PLANNED
            checks.append(Check("memory " + gpu.uuid, passed, expected, gib(gpu.observed_bytes)))
    elsewhere = comparison.memory_off_plan()
    if elsewhere:
        checks.append(Check("only_planned_gpus", False, comparison.planned_text(), ", ".join(sorted(elsewhere))))
    return checks


def _layers(comparison: Comparison) -> list[Check]:
    """The engine's log and the server's sizes do not show layers on the CPU."""
    log = comparison.observed.log
    wanted = "%s/%s" % (comparison.predicted.get("gpu_layers"), comparison.predicted.get("total_layers"))
    if log is None or log.layers is None:
        checks = [Check("layers", None, wanted, comparison.instance.journal_problem or "not in the journal")]
    else:
        logged = "%d/%d" % (log.layers, log.layers_total or 0)
        checks = [Check("layers", not comparison.layers_missing(), wanted, logged)]
    if log and log.buffers:
        buffers = ", ".join("%s %s" % (device, gib(size)) for device, size in sorted(log.buffers.items()))
        on_gpu = sum(size for device, size in log.buffers.items() if engine_log.is_gpu(device))
        checks.append(Check("gpu_buffers", bool(on_gpu), "buffers on a GPU", buffers))
    size, vram = comparison.sizes_of_server()
    enough = comparison.size_vram_is_enough()
    if enough is None:
        checks.append(Check("size_vram", None, "above 0", None))
    else:
        expected = "all of size" if comparison.fully_on_gpu else "above 0"
        checks.append(Check("size_vram", enough, expected, "%s of %s" % (gib(vram), gib(size))))
    return checks


def _dry_run(comparison: Comparison) -> list[Check]:
    """The engine expected no more memory than predicted plus the headroom of the plan."""
    if not comparison.engine_bytes():
        why = comparison.instance.journal_problem or "not in the journal"
        return [Check("engine_dry_run", None, "printed by the engine", why)]
    return [
        Check("engine_dry_run " + run.uuid, not run.is_above, "at most %s" % gib(run.most_bytes), gib(run.engine_bytes))
        for run in comparison.dry_runs()
    ]


def _utilization(comparison: Comparison) -> list[Check]:
    """Every planned GPU computed at least once while the model generated."""
    expected = "above 0 %"
    peaks = comparison.observed.utilization_peak
    if peaks is None:
        why = comparison.observed.generation_error or "no generation was run"
        return [Check("utilization", None, expected, why)]
    checks = []
    for uuid in comparison.planned:
        peak = peaks.get(uuid)
        if peak is None:
            checks.append(Check("utilization " + uuid, None, expected, "not supported by this GPU"))
        else:
            checks.append(Check("utilization " + uuid, peak > 0, expected, "%d %%" % peak))
    return checks


def _foreign_memory(comparison: Comparison) -> list[Check]:
    """Other processes have not taken the headroom that the plan keeps free."""
    expected = "no more than at planning"
    grown = ", ".join("%s: %s more" % (growth.uuid, gib(growth.grown_bytes)) for growth in comparison.foreign_growth())
    return [Check("foreign_memory", not comparison.headroom_taken(), expected, grown or expected)]


def _model_evidence(comparison: Comparison) -> ModelEvidence:
    observed = comparison.observed
    return ModelEvidence(
        name=comparison.name,
        checks=check_model(comparison),
        devices=_devices(comparison),
        layers_offloaded=observed.log.layers if observed.log else None,
        layers_total=observed.log.layers_total if observed.log else None,
        tokens_per_second=observed.tokens_per_second,
        load_seconds=observed.load_seconds,
    )


def _devices(comparison: Comparison) -> list[DeviceEvidence]:
    """Return the planned GPUs, then those outside the plan where NVML lists the model."""
    engine = comparison.engine_bytes()
    peaks = comparison.observed.utilization_peak or {}
    readable = comparison.inventory_problem() is None
    devices = []
    for device in comparison.predicted_devices:
        uuid = device["uuid"]
        held = comparison.held.get(uuid, 0) if readable and uuid in comparison.host.devices else None
        devices.append(DeviceEvidence(uuid, device.get("total_bytes"), engine.get(uuid), held, peaks.get(uuid)))
    for uuid in sorted(set(comparison.held) - {device.uuid for device in devices}):
        devices.append(DeviceEvidence(uuid, 0, engine.get(uuid), comparison.held[uuid], None))
    return devices
