# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Explain why a model is not as planned: what was seen, and what to do about it. Pure.

The kinds of findings are part of the result of placement_check: one_gpu_carries_all, layers_on_cpu, cpu_only,
far_from_predicted, foreign_process, not_loaded, engine_died and gpu_not_seen.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

from ..common.sizes import gib
from . import comparison as states
from . import tolerances
from .comparison import Comparison, ForeignGrowth
from .shapes import Finding


class _Diagnosis(NamedTuple):
    """A finding without the names of its instance and model."""

    finding: str
    evidence: str
    remedy: str


def explain(comparison: Comparison) -> list[Finding]:
    """Return the findings of one model, [] if it is as planned.

    A model whose GPUs, server or engine are missing gets one finding. Otherwise there is at most one for the context
    length and one for the memory. What the log, /api/ps, the utilization and other processes show is explained only
    where there is neither.
    """
    missing = _gpus(comparison) or _serving(comparison)
    if missing:
        diagnoses = [missing]
    else:
        checked = [_context_length(comparison), (_memory if comparison.planned else _cpu_only)(comparison)]
        diagnoses = [diagnosis for diagnosis in checked if diagnosis]
        if comparison.planned and not diagnoses:
            rest = (explanation(comparison) for explanation in _REST)
            diagnoses = [diagnosis for diagnosis in rest if diagnosis][:1]
    return [Finding(*diagnosis, instance=comparison.instance_name, model=comparison.name) for diagnosis in diagnoses]


# -- is it there -------------------------------------------------------------------------------------------------------


def _gpus(comparison: Comparison) -> _Diagnosis | None:
    if not comparison.planned:
        return None
    problem, missing, unusable = (comparison.inventory_problem(), comparison.missing_gpus(), comparison.unusable_gpus())
    if problem:
        return _Diagnosis(
            "gpu_not_seen",
            "the GPUs of the host cannot be read: %s" % problem,
            comparison.host.inventory.get("remedy") or "Run nvidia-smi on the host.",
        )
    if missing:
        unlisted = comparison.host.inventory.get("unlisted") or []
        on_bus = " (the PCI bus has GPUs that it does not list: %s)" % ", ".join(unlisted) if unlisted else ""
        return _Diagnosis(
            "gpu_not_seen",
            "the driver does not list %s%s" % (", ".join(missing), on_bus),
            "Look for Xid messages in the kernel log, then reboot the host or reseat the GPU. "
            "If the GPU was removed on purpose, run the plan again.",
        )
    if unusable:
        return _Diagnosis(
            "gpu_not_seen",
            "%s cannot be used: %s" % (", ".join(unusable), "; ".join(unusable.values())),
            "Repair or reset the GPU, or run the plan again without it.",
        )
    return None


def _serving(comparison: Comparison) -> _Diagnosis | None:
    state, name, unit = comparison.serving(), comparison.name, comparison.unit
    if state == states.SERVES:
        return None
    if state == states.ENGINE_DIED:
        return _engine_died(comparison)
    if state == states.NO_MEMORY_BY_OTHERS:
        error = comparison.observed.load_error
        return _foreign(comparison.foreign_growth(), "the model cannot be loaded (%s)" % error)
    if state == states.NO_ANSWER:
        return _Diagnosis(
            "engine_died",
            "the engine of %s gave no answer: %s" % (name, comparison.observed.generation_error),
            "Look at journalctl -u %s around that time, then load the model again." % unit,
        )
    return _Diagnosis("not_loaded", *_not_loaded(comparison, state))


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
        "Run the check with load: true and without check mode, or run the role again.",
    )


def _engine_died(comparison: Comparison) -> _Diagnosis:
    log, how = comparison.observed.log, comparison.death() or ""
    logged = " (its log: %s)" % log.error if log and log.error and log.error not in how else ""
    return _Diagnosis(
        "engine_died",
        "the engine of %s died: %s%s" % (comparison.name, how, logged),
        "Look at journalctl -u %s for the last messages of the engine. If it ran out of memory, use a shorter context, "
        "a quantized KV cache or more GPUs." % comparison.unit,
    )


# -- is it loaded as planned -------------------------------------------------------------------------------------------


def _context_length(comparison: Comparison) -> _Diagnosis | None:
    if not comparison.context_differs():
        return None
    planned, loaded = comparison.context_lengths()
    return _Diagnosis(
        "far_from_predicted",
        "%s is loaded with %d tokens of context instead of %d" % (comparison.name, loaded or 0, planned or 0),
        "Load the model again (gpufleet.ollama.model with state loaded) or run the role: "
        "it was loaded before its settings changed.",
    )


def _cpu_only(comparison: Comparison) -> _Diagnosis | None:
    if not comparison.holds_gpu_memory():
        return None
    return _Diagnosis(
        "far_from_predicted",
        "%s is planned for the CPU and holds %s" % (comparison.name, comparison.held_text()),
        "Restart %s: its process does not have the environment of the plan." % comparison.unit,
    )


# -- where is it -------------------------------------------------------------------------------------------------------


def _memory(comparison: Comparison) -> _Diagnosis | None:
    """Explain the model's memory by NVML with one finding: the one that explains most."""
    memory = comparison.memory_by_gpu()
    short = [gpu for gpu in memory if gpu.state == states.TOO_LITTLE]
    if short:
        missing = sum(gpu.predicted_bytes - (gpu.observed_bytes or 0) for gpu in short)
        return _too_little(comparison, missing)
    if comparison.memory_off_plan() or any(gpu.state == states.TOO_MUCH for gpu in memory):
        return _Diagnosis(
            "far_from_predicted",
            _held_and_predicted(comparison),
            "Compare the context length, KV cache type and parallel slots of the running server with the plan. "
            "Restart %s if they differ." % comparison.unit,
        )
    return None


def _too_little(comparison: Comparison, missing_bytes: int) -> _Diagnosis:
    """Explain why GPUs hold less than planned."""
    total = sum(size or 0 for size in comparison.held.values())
    with_layers = comparison.gpus_with_layers()
    grown = comparison.foreign_growth(tolerances.FOREIGN_GROWTH_NOTICED_BYTES)
    if grown and sum(growth.grown_bytes for growth in grown) >= missing_bytes // 2:
        return _foreign(grown, _held_and_predicted(comparison))
    if not total and not comparison.held:
        return _not_on_any_gpu(comparison)
    if not with_layers:
        return _bare_contexts(comparison)
    if len(comparison.planned) > 1 and len(with_layers) == 1:
        return _one_gpu(comparison, with_layers[0])
    if comparison.layers_missing() or comparison.host_excess_bytes():
        return _layers_on_cpu(comparison)
    return _Diagnosis(
        "far_from_predicted",
        _held_and_predicted(comparison),
        "Check that %s runs with the environment of the plan (CUDA_VISIBLE_DEVICES, context length, KV cache type), "
        "restart it and load the model again." % comparison.unit,
    )


def _not_on_any_gpu(comparison: Comparison) -> _Diagnosis:
    return _Diagnosis(
        "cpu_only",
        "no process of %s is on any GPU: %s runs on the CPU%s"
        % (comparison.unit, comparison.name, _claims(comparison)),
        'Look at journalctl -u %s for the line "inference compute". Check that the service user may open /dev/nvidia*, '
        "that CUDA_VISIBLE_DEVICES names these GPUs and that the driver is new enough, then restart the service."
        % comparison.unit,
    )


def _bare_contexts(comparison: Comparison) -> _Diagnosis:
    return _Diagnosis(
        "layers_on_cpu",
        "the GPUs hold only a CUDA context each (%s), but the plan predicts %s: the layers of %s are on the CPU%s"
        % (comparison.held_text(), comparison.predicted_text(), comparison.name, _claims(comparison)),
        "Remove num_gpu from the model's parameters and LLAMA_ARG_N_GPU_LAYERS from the service's environment, "
        "then load the model again.",
    )


def _one_gpu(comparison: Comparison, uuid: str) -> _Diagnosis:
    held, planned = gib(comparison.held[uuid]), len(comparison.planned)
    return _Diagnosis(
        "one_gpu_carries_all",
        "%s holds %s of %s, which is planned over %d GPUs%s"
        % (uuid, held, comparison.name, planned, _claims(comparison)),
        "Set OLLAMA_SCHED_SPREAD=1 in the environment of %s and restart it (num_gpu is a number of layers, not of "
        "GPUs, and does not spread them). Remove main_gpu from the model's parameters." % comparison.unit,
    )


def _layers_on_cpu(comparison: Comparison) -> _Diagnosis:
    """Explain layers, or tensors of layers, that are on the CPU according to the engine itself."""
    log = comparison.observed.log
    if log is not None and comparison.layers_missing():
        return _Diagnosis(
            "layers_on_cpu",
            "%d of %d layers of %s are on GPUs, but %s are planned"
            % (log.layers or 0, log.layers_total or 0, comparison.name, comparison.predicted.get("gpu_layers")),
            "Free memory on the GPUs or shorten the context, and remove num_gpu from the model's parameters unless it "
            "is 999. Then load the model again.",
        )
    return _Diagnosis(
        "layers_on_cpu",
        "%s holds %s more in host memory than planned%s"
        % (comparison.name, gib(comparison.host_excess_bytes()), _claims(comparison)),
        "Free memory on the GPUs or shorten the context, and remove LLAMA_ARG_OVERRIDE_TENSOR and LLAMA_ARG_N_CPU_MOE "
        "from the service's environment.",
    )


def _foreign(grown: list[ForeignGrowth], consequence: str) -> _Diagnosis:
    """Explain `consequence` with the memory that other processes have taken."""
    who = "; ".join(
        "process %s (%s, %s) and other processes outside the plan hold %s more of %s than when the plan was made"
        % (
            growth.process["pid"],
            growth.process.get("name") or "unknown",
            growth.process.get("unit") or "no service",
            gib(growth.grown_bytes),
            growth.uuid,
        )
        for growth in grown
    )
    pids = list(dict.fromkeys(str(growth.process["pid"]) for growth in grown))
    return _Diagnosis(
        "foreign_process",
        "%s: %s" % (who, consequence),
        "Stop process %s, or run the role again so that the plan takes its memory into account." % ", ".join(pids),
    )


def _held_and_predicted(comparison: Comparison) -> str:
    return "%s holds %s, but the plan predicts %s" % (
        comparison.name,
        comparison.held_text(),
        comparison.predicted_text(),
    )


def _claims(comparison: Comparison) -> str:
    """Return what log and API claim to the contrary, so that a reader sees why they are not believed."""
    log, (size, vram) = comparison.observed.log, comparison.sizes_of_server()
    claims = []
    if log and log.layers:
        claims.append("its log says that %d/%d layers are on GPUs" % (log.layers, log.layers_total or 0))
    if size is not None and size == vram:
        claims.append("/api/ps says that size_vram equals size")
    return ", although " + " and ".join(claims) if claims else ""


# -- what only log, server, utilization or other processes show -----------------------------------------


def _engine_and_server(comparison: Comparison) -> _Diagnosis | None:
    size, vram = comparison.sizes_of_server()
    if comparison.buffers_only_on_cpu() or vram == 0:
        return _Diagnosis(
            "cpu_only",
            "the engine of %s put nothing on a GPU (size_vram: %s)%s"
            % (comparison.name, gib(vram), _claims(comparison)),
            'Look at journalctl -u %s for the line "inference compute", and restart the service when the driver lists '
            "its GPUs." % comparison.unit,
        )
    if comparison.layers_missing():
        return _layers_on_cpu(comparison)
    if comparison.size_vram_is_enough() is False:
        return _Diagnosis(
            "layers_on_cpu",
            "/api/ps says that only %s of the %s of %s are in GPU memory" % (gib(vram), gib(size), comparison.name),
            "Free memory on the GPUs or shorten the context, then load the model again.",
        )
    return None


def _dry_run(comparison: Comparison) -> _Diagnosis | None:
    above = [run for run in comparison.dry_runs() if run.is_above]
    if not above:
        return None
    return _Diagnosis(
        "far_from_predicted",
        "the engine expects to use %s on %s, but the plan predicts %s"
        % (gib(above[0].engine_bytes), above[0].uuid, gib(above[0].predicted_bytes)),
        "Raise headroom_bytes of the model to at least %d and run the role again. "
        "Please report the model and its settings." % (above[0].engine_bytes - above[0].predicted_bytes),
    )


def _utilization(comparison: Comparison) -> _Diagnosis | None:
    idle = comparison.idle_gpus()
    if not idle:
        return None
    return _Diagnosis(
        "layers_on_cpu",
        "%s computed nothing while %s generated (%s tokens/s): its layers ran on the CPU"
        % (", ".join(idle), comparison.name, comparison.observed.tokens_per_second),
        "Restart %s and load the model again. If nothing changes, look at journalctl -u %s for CUDA errors."
        % (comparison.unit, comparison.unit),
    )


def _foreign_memory(comparison: Comparison) -> _Diagnosis | None:
    taken = comparison.headroom_taken()
    if not taken:
        return None
    return _foreign(taken, "less than the headroom of %s is free" % gib(comparison.headroom_bytes))


_REST: tuple[Callable[[Comparison], _Diagnosis | None], ...] = (
    _engine_and_server,
    _dry_run,
    _utilization,
    _foreign_memory,
)
