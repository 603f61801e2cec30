# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Explain why the GPUs hold another memory than planned. Pure."""

from __future__ import annotations

from ..common.sizes import gib
from . import one_gpu, tolerances
from .comparison import Comparison
from .diagnosis import Diagnosis, claims, foreign
from .model_memory import TOO_LITTLE, TOO_MUCH


def memory_finding(comparison: Comparison) -> Diagnosis | None:
    """Explain the model's memory by NVML with one finding: the one that explains most."""
    memory = comparison.memory.by_gpu()
    short = [gpu for gpu in memory if gpu.state == TOO_LITTLE]
    if short:
        missing = sum(gpu.limits.least_bytes - (gpu.held.most_bytes or 0) for gpu in short)
        return _too_little(comparison, missing)
    if comparison.memory.off_plan() or comparison.memory.buffers_off_plan():
        return _off_plan(comparison)
    if any(gpu.state == TOO_MUCH for gpu in memory):
        return Diagnosis(
            "far_from_predicted",
            _held_and_predicted(comparison),
            "Compare the context length, KV cache type and parallel slots of the running server with the plan. "
            "Restart %s if they differ." % comparison.unit,
        )
    held, total = [gpu.observed_bytes for gpu in memory], comparison.memory.total()
    if total and None not in held and sum(size or 0 for size in held) < total.least_bytes:
        return _layers_elsewhere(comparison)
    return None


def _too_little(comparison: Comparison, missing_bytes: int) -> Diagnosis:
    """Explain why GPUs hold less than planned."""
    held = comparison.memory.held
    with_layers = comparison.memory.gpus_with_layers()
    grown = comparison.foreign_growth(tolerances.FOREIGN_GROWTH_NOTICED_BYTES)
    if grown and sum(growth.grown_bytes for growth in grown) >= missing_bytes // 2:
        return foreign(grown, _held_and_predicted(comparison))
    if not any(one.listed for one in held.values()) and not with_layers:
        return _not_on_any_gpu(comparison)
    if not with_layers:
        carrier = one_gpu.carrier(comparison)
        return _one_gpu(comparison, carrier) if carrier else _bare_contexts(comparison)
    if len(comparison.planned) > 1 and len(with_layers) == 1 and with_layers[0] in comparison.planned:
        return _one_gpu(comparison, with_layers[0])
    if set(with_layers) - set(comparison.planned):
        return _off_plan(comparison)
    return _layers_elsewhere(comparison)


def _layers_elsewhere(comparison: Comparison) -> Diagnosis:
    if comparison.layers_missing() or comparison.host_excess_bytes():
        return layers_on_cpu(comparison)
    return Diagnosis(
        "far_from_predicted",
        _held_and_predicted(comparison),
        "Check that %s runs with the environment of the plan (CUDA_VISIBLE_DEVICES, context length, KV cache type), "
        "restart it and load the model again." % comparison.unit,
    )


def _off_plan(comparison: Comparison) -> Diagnosis:
    return Diagnosis(
        "far_from_predicted",
        "%s, and %s is not in the plan of %s"
        % (_held_and_predicted(comparison), ", ".join(_devices_off_plan(comparison)), comparison.name),
        "Run the role: it makes CUDA_VISIBLE_DEVICES of %s that of the plan, and restarts it." % comparison.unit,
    )


def _devices_off_plan(comparison: Comparison) -> list[str]:
    memory = comparison.memory
    return memory.off_plan() + sorted(memory.buffers_off_plan())


def _not_on_any_gpu(comparison: Comparison) -> Diagnosis:
    return Diagnosis(
        "cpu_only",
        "no process of %s is on any GPU: %s runs on the CPU%s" % (comparison.unit, comparison.name, claims(comparison)),
        'Look at journalctl -u %s for the line "inference compute". Check that the service user may open /dev/nvidia*, '
        "that CUDA_VISIBLE_DEVICES names these GPUs and that the driver is new enough, then restart the service."
        % comparison.unit,
    )


def _bare_contexts(comparison: Comparison) -> Diagnosis:
    return Diagnosis(
        "layers_on_cpu",
        "the GPUs hold only a CUDA context each (%s), but the plan predicts %s: the layers of %s are on the CPU%s"
        % (comparison.held_text(), comparison.predicted_text(), comparison.name, claims(comparison)),
        "Remove num_gpu from the model's parameters and LLAMA_ARG_N_GPU_LAYERS from the service's environment, "
        "then load the model again.",
    )


def _one_gpu(comparison: Comparison, uuid: str) -> Diagnosis:
    held, planned = gib(comparison.memory.held[uuid].most_bytes), len(comparison.planned)
    why = one_gpu.cause(comparison)
    return Diagnosis(
        "one_gpu_carries_all",
        "%s holds %s of %s, which is planned over %d GPUs%s; %s"
        % (uuid, held, comparison.name, planned, claims(comparison), why.seen),
        why.remedy,
    )


def layers_on_cpu(comparison: Comparison) -> Diagnosis:
    """Explain layers, or tensors of layers, that are on the CPU according to the engine itself."""
    log = comparison.observed.log
    if log is not None and comparison.layers_missing():
        return Diagnosis(
            "layers_on_cpu",
            "%d of %d layers of %s are on GPUs, but %s are planned"
            % (log.layers or 0, log.layers_total or 0, comparison.name, comparison.predicted.get("gpu_layers")),
            "Free memory on the GPUs or shorten the context, and remove num_gpu from the model's parameters unless it "
            "is 999. Then load the model again.",
        )
    return Diagnosis(
        "layers_on_cpu",
        "%s holds %s more in host memory than planned%s"
        % (comparison.name, gib(comparison.host_excess_bytes()), claims(comparison)),
        "Free memory on the GPUs or shorten the context, and remove LLAMA_ARG_OVERRIDE_TENSOR and, unless the "
        "plan sets it, LLAMA_ARG_CPU_MOE or LLAMA_ARG_N_CPU_MOE from the service's environment.",
    )


def _held_and_predicted(comparison: Comparison) -> str:
    return "%s holds %s, but the plan predicts %s" % (
        comparison.name,
        comparison.held_text(),
        comparison.predicted_text(),
    )
