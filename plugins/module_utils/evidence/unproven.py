# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Say why it is not proven that a model is as planned, and what would prove it. Pure.

Nothing is known to be wrong with the service, so no remedy here changes it.
"""

from __future__ import annotations

from ..common.sizes import gib
from . import model_memory
from .comparison import Comparison
from .diagnosis import Diagnosis

_BY_PROCESS = (
    "Run the check where NVML lists the processes with their memory: on the host itself and as root, and in a "
    "container with the host's PID namespace. "
)
_ALONE = (
    "If the driver does not report the memory of processes, the memory in use proves a model only if no other process "
    "is on its GPU, or if the check itself loads the model, which it does when the model is not loaded."
)


def unproven(comparison: Comparison, unknown: list[str]) -> Diagnosis:
    """Return the finding on what is unknown of a model with which nothing is known to be wrong.

    Args:
        comparison: of the model.
        unknown: names of its checks that are required and unknown.
    """
    explanations = (_memory, _other_gpus, _utilization) if comparison.planned else (_cpu_only,)
    evidence, remedy = "unknown: %s" % ", ".join(unknown), "Run the check again as root, on the host itself."
    for explain in (_engine,) + explanations + (_journal, _store):
        found = explain(comparison)
        if found:
            evidence, remedy = found
            break
    return Diagnosis("unproven", "it is not proven that %s is as planned: %s" % (comparison.name, evidence), remedy)


def _engine(comparison: Comparison) -> tuple[str, str] | None:
    observed = comparison.observed
    if not comparison.host.is_known:
        return "the GPUs of the host were not read", "Run the check again as root."
    if comparison.gpus_listed_twice():
        return (
            "NVML gives %s to several devices" % ", ".join(comparison.gpus_listed_twice()),
            "Compare nvidia-smi -L with lspci. If both differ, reboot the host.",
        )
    if comparison.gpus_without_health():
        return (
            "NVML does not say whether %s can be used" % ", ".join(comparison.gpus_without_health()),
            "Run nvidia-smi on the host, and check again.",
        )
    if comparison.instance.unit.get("ActiveState") is None:
        return "systemd does not tell the state of %s" % comparison.unit, "Run the check on the host itself, as root."
    if observed.engine is None or not observed.stayed:
        return (
            "the process that runs it is unknown",
            "Run the check as root on the host itself, where it can read the processes of %s." % comparison.unit,
        )
    if any(one.matches is None for one in comparison.settings()):
        return (
            "the settings of process %d cannot be read" % observed.engine.pid,
            "Run the check as root, which may read the command line and the environment of that process.",
        )
    if not (observed.answered and observed.answer) and not observed.not_generated:
        return "its answer is unknown", "Run the check again without check mode."
    return None


def _memory(comparison: Comparison) -> tuple[str, str] | None:
    unknown = [gpu for gpu in comparison.memory.by_gpu() if gpu.state == model_memory.UNKNOWN]
    if not unknown:
        return None
    gpu = unknown[0]
    if gpu.held.contradicted:
        return (
            "NVML contradicts itself on %s: the processes there are listed with more memory than the whole GPU has in "
            "use, or one process is listed with two sizes" % gpu.uuid,
            "Run the check again. If the result is the same, update the driver.",
        )
    listing = {None: "lists no processes", False: "does not list its process", True: "lists its process without memory"}
    return (
        "NVML %s on %s, where %s are in use in all and %s to %s are planned"
        % (
            listing[gpu.held.listed],
            gpu.uuid,
            gib(gpu.held.most_bytes),
            gib(gpu.limits.least_bytes),
            gib(gpu.limits.most_bytes),
        ),
        _BY_PROCESS + _ALONE,
    )


def _other_gpus(comparison: Comparison) -> tuple[str, str] | None:
    unknown = comparison.memory.off_plan_unknown()
    if not unknown:
        return None
    return "NVML does not tell who uses %s, which is outside its plan" % ", ".join(unknown), _BY_PROCESS.strip()


def _cpu_only(comparison: Comparison) -> tuple[str, str] | None:
    if comparison.host.has_no_gpu:
        return None
    problem = comparison.host.problem()
    if problem:
        return (
            "it is planned for the CPU, and the GPUs of the host cannot be read: %s" % problem,
            comparison.host.inventory.get("remedy") or "Run nvidia-smi on the host.",
        )
    return _other_gpus(comparison)


def _utilization(comparison: Comparison) -> tuple[str, str] | None:
    unknown = [
        busy
        for busy in comparison.busy()
        if busy.computed is None
        and (busy.is_needed or not (comparison.observed.not_generated or not busy.is_supported))
    ]
    if not unknown:
        return None
    where = ", ".join(busy.uuid for busy in unknown)
    if comparison.observed.not_generated:
        why = "memory alone does not show it on %s, and it was not seen computing (%s)" % (
            where,
            comparison.observed.not_generated,
        )
        return why, "Run the playbook gpufleet.ollama.verify without check mode: it runs a generation."
    return (
        "it was not seen computing on %s: NVML reports no utilization by process there, and another process may keep "
        "the "
        "GPU busy" % where,
        "Run the check as root while no other process is on these GPUs.",
    )


def _journal(comparison: Comparison) -> tuple[str, str] | None:
    observed, problem = comparison.observed, comparison.instance.journal_problem
    if observed.log_missing:
        return None
    if observed.log is None:
        return (
            "the lines of its engine were not read%s" % (": " + problem if problem else ""),
            "Run the check as root, which may read the journal of %s." % comparison.unit,
        )
    return None


def _store(comparison: Comparison) -> tuple[str, str] | None:
    observed, base = comparison.observed, comparison.model.get("from") or comparison.model["name"]
    if observed.base_file is None:
        return "the server does not tell the file of %s" % base, "Pull %s on the host (or run the role)." % base
    if observed.served_file is None or observed.stored_digest is None:
        return (
            "%s is loaded, and the server does not have it any more" % comparison.name,
            "Run the role: it makes the model again.",
        )
    return None
