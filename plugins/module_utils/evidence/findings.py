# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Explain why a model is not as planned, or not proven to be: what was seen, and what to do about it. Pure.

The kinds of findings are part of the result of placement_check: one_gpu_carries_all, layers_on_cpu, cpu_only,
far_from_predicted, foreign_process, not_loaded, engine_died, gpu_not_seen and unproven; of what a model answers
answer_no_number, answer_one_token, answer_unprintable, vector_wrong and replicas_disagree (answers.py); of an instance
as a whole unplanned_model and unplanned_process (instance_checks.py), open_to_others and closed_to_clients
(guarded.py). A switch has one more: slower (slowdown.py).
"""

from __future__ import annotations

from typing import Callable

from ..common.sizes import gib
from . import comparison as states
from .answer_checks import explain_answer
from .comparison import Comparison
from .diagnosis import Diagnosis, claims, foreign
from .memory_findings import layers_on_cpu, memory_finding
from .model_identity import ModelIdentity, explain_expiry, explain_model
from .shapes import UNPROVEN, Check, Finding, verdict_of
from .unproven import unproven


def explain(comparison: Comparison, checks: list[Check]) -> list[Finding]:
    """Return the findings of one model with these checks, [] if it is as planned.

    A model whose GPUs, server or engine are missing gets one finding. Otherwise there is at most one for the model that
    is loaded, one for its settings and one for the memory. What the log, /api/ps, the utilization and other processes
    show is explained only where there is none of these. What is wrong with the answer is said beside all others, and
    what is not proven only where nothing is wrong.
    """
    missing = _gpus(comparison) or _serving(comparison)
    if missing:
        diagnoses = [missing]
    elif comparison.serving() == states.ON_DEMAND:
        diagnoses = []
    else:
        loaded = ModelIdentity(comparison.model, comparison.observed)
        checked = [explain_model(loaded), _settings(comparison)]
        checked.append((memory_finding if comparison.planned else _cpu_only)(comparison))
        diagnoses = [diagnosis for diagnosis in checked if diagnosis]
        if comparison.planned and not diagnoses:
            rest = (explanation(comparison) for explanation in _REST)
            diagnoses = [diagnosis for diagnosis in rest if diagnosis][:1]
        diagnoses += [diagnosis for diagnosis in [explain_expiry(loaded)] if diagnosis] + explain_answer(comparison)
    if not diagnoses and verdict_of(checks) == UNPROVEN:
        unknown = [check.name for check in checks if check.passed is None and check.required]
        diagnoses = [unproven(comparison, unknown)]
    return [Finding(*diagnosis, instance=comparison.instance_name, model=comparison.name) for diagnosis in diagnoses]


# -- is it there -------------------------------------------------------------------------------------------------------


def _gpus(comparison: Comparison) -> Diagnosis | None:
    if not comparison.planned or not comparison.host.is_known:
        return None
    problem, missing, unusable = (comparison.host.problem(), comparison.missing_gpus(), comparison.unusable_gpus())
    if problem:
        return Diagnosis(
            "gpu_not_seen",
            "the GPUs of the host cannot be read: %s" % problem,
            comparison.host.inventory.get("remedy") or "Run nvidia-smi on the host.",
        )
    if missing:
        unlisted = comparison.host.inventory.get("unlisted") or []
        on_bus = " (the PCI bus has GPUs that it does not list: %s)" % ", ".join(unlisted) if unlisted else ""
        return Diagnosis(
            "gpu_not_seen",
            "the driver does not list %s%s" % (", ".join(missing), on_bus),
            "Look for Xid messages in the kernel log, then reboot the host or reseat the GPU. "
            "If the GPU was removed on purpose, run the plan again.",
        )
    if unusable:
        return Diagnosis(
            "gpu_not_seen",
            "%s cannot be used: %s" % (", ".join(unusable), "; ".join(unusable.values())),
            "Repair or reset the GPU, or run the plan again without it.",
        )
    return None


def _serving(comparison: Comparison) -> Diagnosis | None:
    state, name, unit = comparison.serving(), comparison.name, comparison.unit
    if state in (states.SERVES, states.ON_DEMAND):
        return None
    if state == states.ENGINE_DIED:
        return _engine_died(comparison)
    if state == states.NO_MEMORY_BY_OTHERS:
        error = comparison.observed.load_error
        return foreign(comparison.foreign_growth(), "the model cannot be loaded (%s)" % error)
    if state == states.NO_ANSWER:
        return Diagnosis(
            "engine_died",
            "the engine of %s gave no answer: %s" % (name, comparison.observed.generation_error),
            "Look at journalctl -u %s around that time, then load the model again." % unit,
        )
    return Diagnosis("not_loaded", *_not_loaded(comparison, state))


def _not_loaded(comparison: Comparison, state: str) -> tuple[str, str]:
    """Return (evidence, remedy) of a model that is not loaded."""
    name, unit, url, observed = comparison.name, comparison.unit, comparison.url, comparison.observed
    if state == states.SERVICE_NOT_ACTIVE:
        another = ", and something else answers at %s" % url if comparison.instance.reachable else ""
        return (
            "the service %s is %s%s" % (unit, comparison.instance.unit.get("ActiveState"), another),
            "Look at journalctl -u %s, then start the service or run the role again." % unit,
        )
    if state == states.SERVER_NOT_REACHABLE:
        return (
            comparison.instance.error or "the server at %s was not checked" % url,
            "Look at systemctl status %s, then start the service or run the role again." % unit,
        )
    if state == states.WOULD_EVICT:
        others = ", ".join(observed.would_evict)
        return (
            "%s has loaded %s, which the plan does not contain and which could be evicted by loading %s"
            % (unit, others, name),
            "Unload %s (gpufleet.ollama.model with state unloaded), then check again." % others,
        )
    if state == states.LOAD_FAILED:
        return (
            "loading %s failed: %s" % (name, observed.load_error),
            "Pull or create the model with the role, and look at journalctl -u %s." % unit,
        )
    return (
        "%s is not loaded%s" % (name, ", and this check did not load it" if observed.load_seconds is None else ""),
        "Load it with sudo ollama-multigpu load on the host, with the playbook gpufleet.ollama.verify, or with load: "
        "true of placement_check, outside check mode.",
    )


def _engine_died(comparison: Comparison) -> Diagnosis:
    log, how = comparison.observed.log, comparison.death() or ""
    logged = " (its log: %s)" % log.error if log and log.error and log.error not in how else ""
    return Diagnosis(
        "engine_died",
        "the engine of %s died: %s%s" % (comparison.name, how, logged),
        "Look at journalctl -u %s for the last messages of the engine. If it ran out of memory, use a shorter context, "
        "a quantized KV cache or more GPUs." % comparison.unit,
    )


# -- is it loaded as planned -------------------------------------------------------------------------------------------


def _settings(comparison: Comparison) -> Diagnosis | None:
    planned, loaded = comparison.context_lengths()
    others = [one for one in comparison.settings() if one.matches is False]
    if comparison.context_differs():
        difference = "%s is loaded with %d tokens of context instead of %d" % (
            comparison.name,
            loaded or 0,
            planned or 0,
        )
    elif others:
        differences = ["%s %s instead of %s" % (one.name, one.observed, one.planned) for one in others]
        difference = "the engine of %s runs with %s" % (comparison.name, ", ".join(differences))
    else:
        return None
    return Diagnosis(
        "far_from_predicted",
        difference,
        "Load the model again (gpufleet.ollama.model with state loaded) or run the role: it was loaded before its "
        "settings changed, or by a request with options of its own.",
    )


def _cpu_only(comparison: Comparison) -> Diagnosis | None:
    buffers, held = comparison.memory.buffers_off_plan(), comparison.memory.off_plan()
    if not buffers and (comparison.host.has_no_gpu or not held):
        return None
    logged = ", ".join("%s on %s (its log)" % (gib(size), device) for device, size in sorted(buffers.items()))
    return Diagnosis(
        "far_from_predicted",
        "%s is planned for the CPU and holds %s" % (comparison.name, comparison.held_text() if held else logged),
        "Restart %s: its process does not have the environment of the plan." % comparison.unit,
    )


# -- what only log, server, utilization or other processes show -----------------------------------------


def _engine_and_server(comparison: Comparison) -> Diagnosis | None:
    size, vram = comparison.sizes_of_server()
    if comparison.buffers_only_on_cpu() or vram == 0:
        return Diagnosis(
            "cpu_only",
            "the engine of %s put nothing on a GPU (size_vram: %s)%s"
            % (comparison.name, gib(vram), claims(comparison)),
            'Look at journalctl -u %s for the line "inference compute", and restart the service when the driver lists '
            "its GPUs." % comparison.unit,
        )
    if comparison.layers_missing():
        return layers_on_cpu(comparison)
    if comparison.size_vram_is_enough() is False:
        return Diagnosis(
            "layers_on_cpu",
            "/api/ps says that only %s of the %s of %s are in GPU memory" % (gib(vram), gib(size), comparison.name),
            "Free memory on the GPUs or shorten the context, then load the model again.",
        )
    return None


def _dry_run(comparison: Comparison) -> Diagnosis | None:
    above = [run for run in comparison.dry_runs() if run.is_above]
    if not above:
        return None
    return Diagnosis(
        "far_from_predicted",
        "the engine expects to use %s on %s, but the plan predicts %s"
        % (gib(above[0].engine_bytes), above[0].uuid, gib(above[0].predicted_bytes)),
        "Raise headroom_bytes of the model to at least %d and run the role again. "
        "Please report the model and its settings." % (above[0].engine_bytes - above[0].predicted_bytes),
    )


def _engine_figures(comparison: Comparison) -> Diagnosis | None:
    devices = comparison.placed_otherwise()
    if not devices:
        return None
    memory, device = comparison.memory, devices[0]
    return Diagnosis(
        "far_from_predicted",
        "the engine put %s of weights and KV cache on %s, but the plan has %s there"
        % (gib(memory.engine_exact()[device["uuid"]]), device["uuid"], gib(memory.planned_exact(device))),
        "Run the role: it makes the parameters of the model and the environment of %s those of the plan, and loads the "
        "model again." % comparison.unit,
    )


def _utilization(comparison: Comparison) -> Diagnosis | None:
    idle = [busy for busy in comparison.busy() if busy.computed is False]
    if not idle:
        return None
    others = sorted({pid for busy in idle for pid in busy.others})
    by_others = ", although process %s did" % ", ".join(str(pid) for pid in others) if others else ""
    return Diagnosis(
        "layers_on_cpu",
        "%s computed nothing while %s generated (%s tokens/s)%s: its layers ran on the CPU"
        % (
            ", ".join(busy.uuid for busy in idle),
            comparison.name,
            comparison.observed.tokens_per_second,
            by_others and " for it" + by_others,
        ),
        "Restart %s and load the model again. If nothing changes, look at journalctl -u %s for CUDA errors."
        % (comparison.unit, comparison.unit),
    )


def _foreign_memory(comparison: Comparison) -> Diagnosis | None:
    taken = comparison.headroom_taken()
    if not taken:
        return None
    return foreign(taken, "less than the headroom of %s is free" % gib(comparison.headroom_bytes))


_REST: tuple[Callable[[Comparison], Diagnosis | None], ...] = (
    _engine_and_server,
    _dry_run,
    _engine_figures,
    _utilization,
    _foreign_memory,
)
