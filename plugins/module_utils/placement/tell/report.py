# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report of a model: what was chosen and why, what was not, what would help, what Ollama would do by itself."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from ...common.sizes import gib
from ..ask.host_memory import HostMemory
from ..ask.service import Service
from ..left_out import LeftOutGpu
from ..search.host import Host
from ..shapes import SINGLE, Choice, Placed, Wanted
from . import alternatives, capacity, default_behaviour, remedies
from .case import Case
from .instances import Instance, environment, parameters


def explain(
    case: Case, host: Host, instances: Sequence[Instance], service: Service, gpu_inventory: dict[str, Any]
) -> dict[str, Any]:
    """An entry of the plan's `models`.

    Args:
        case: the model and its host.
        host: the Host with all models on it.
        instances: of all models that have a place.
        service: what the services have in common.
        gpu_inventory: facts of gpu_facts.
    """
    choice = case.choice
    behaviour = _default_behaviour(case, instances, service)
    report = {
        "name": choice.wanted.name,
        "fits": bool(choice.placements),
        "strategy": choice.strategy,
        "reason": _reason(choice, behaviour) if choice.placements else _why_not(case, gpu_inventory),
        "shortfall_bytes": None if choice.placements or _lacks_a_second_gpu(case) else choice.shortfall_bytes,
        "remedies": [] if choice.placements else _host_remedy(case, gpu_inventory) + remedies.remedies(case),
        "alternatives": alternatives.alternatives(choice, _without(choice, host), case.fitting),
        "capacity": capacity.capacity(choice, host, case.fitting),
        "default_behaviour": behaviour,
    }
    return report


def _without(choice: Choice, host: Host) -> Host:
    """The host with all other models on it."""
    if not choice.wanted.resident:
        return host  # what models on demand take is beside what the residents leave
    others = host.beside_on_demand(host.on_demand)
    for placed in choice.placements:
        others.give_back(placed)
    return others


def _default_behaviour(case: Case, instances: Sequence[Instance], service: Service) -> dict[str, Any]:
    """What this Ollama version would do without any setting, and what the settings of the model do on it."""
    release, facts = case.fitting.release, case.wanted.facts
    settings = default_behaviour.settings_with_effects(
        release,
        facts,
        case.choice.placements,
        *_parameters_and_variables(case.wanted, instances, service),
        gpu_count=sum(1 for gpu in case.gpus if not gpu.is_slice),  # CUDA shows one MIG device at most
    )
    return dict(default_behaviour.default_behaviour(case.fitting, facts, case.gpus), settings=settings)


def _parameters_and_variables(
    wanted: Wanted, instances: Sequence[Instance], service: Service
) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameters of a model and the service variables of its first instance; empty where it has none."""
    for instance in instances:
        for member in instance.members:
            if member.wanted.create_as == wanted.create_as:
                return parameters(member), environment(instance, service)
    return {}, {}


def _reason(choice: Choice, behaviour: dict[str, Any]) -> str:
    """Why the model is where it is."""
    placed = choice.placements[0]
    if not default_behaviour.differs(behaviour, placed):
        return choice.reason + "."
    return "%s; without settings, this Ollama version would place the model differently (%s), so the plan sets %s." % (
        choice.reason,
        behaviour["outcome"] or "it would not load: %s" % behaviour["error"],
        "CUDA_VISIBLE_DEVICES and OLLAMA_SCHED_SPREAD" if len(placed.gpus) > 1 else "CUDA_VISIBLE_DEVICES",
    )


def _lacks_a_second_gpu(case: Case) -> bool:
    return bool(case.gpus) and case.wanted.strategy == "split" and len(case.empty_host().joinable()) < 2


def _why_not(case: Case, gpu_inventory: dict[str, Any]) -> str:
    """Why the model has no place."""
    if case.gpu_fault:
        return case.gpu_fault.reason
    if not case.gpus and case.choice.attempt is None:
        why = gpu_inventory.get("reason") or _left_out(case.left_out) or "the host has no GPU"
        return "No usable GPU: %s." % str(why).rstrip(".")
    if _lacks_a_second_gpu(case):
        return "Strategy split needs two GPUs that can work on one model together, and the host has %d%s." % (
            len(case.empty_host().joinable()),
            "; a process can use one MIG device only" if any(gpu.is_slice for gpu in case.gpus) else "",
        )
    why = _shortfall(case.choice.attempt, case.memory)
    apart = case.fitting.refused_set(case.empty_host().joinable()) if case.wanted.strategy != SINGLE else None
    return "%s %s." % (why, apart) if apart else why


def _shortfall(attempt: Optional[Placed], memory: Optional[HostMemory]) -> str:
    """What is missing for the closest attempt."""
    if attempt is None:
        return "Every GPU is in exclusive compute mode and used by another model already."
    if attempt.refusal:
        return attempt.refusal + "."
    if memory and any(gpu.unified for gpu in attempt.gpus):
        return (
            "The model does not fit: %s (%d bytes) are missing. GPU and CPU share the host's memory, of which %s of %s "
            "are available, and %s stay free for the host (host_headroom_bytes)."
            % (
                gib(attempt.shortfall_bytes),
                attempt.shortfall_bytes,
                gib(memory.available_bytes),
                gib(memory.total_bytes),
                gib(attempt.predicted.headroom_bytes),
            )
        )
    return "The model does not fit: %s (%d bytes) are missing if %s stay free on every GPU (headroom_bytes)." % (
        gib(attempt.shortfall_bytes),
        attempt.shortfall_bytes,
        gib(attempt.predicted.headroom_bytes),
    )


def _host_remedy(case: Case, gpu_inventory: dict[str, Any]) -> list[str]:
    """What gpu_facts says that would help, where the host has no usable GPU."""
    if case.gpu_fault:
        return []  # its remedies say it
    remedy = gpu_inventory.get("remedy")
    broken = gpu_inventory.get("state") not in (None, "ok")
    return [remedy] if not case.gpus and broken and remedy else []


def _left_out(left_out: Sequence[LeftOutGpu]) -> str:
    """Why every GPU is left out. GPUs that are not selected are listed only if there are no others."""
    reasons = [gpu for gpu in left_out if gpu.selected] or left_out
    return ", ".join("GPU %s is left out: %s" % (gpu.uuid, gpu.reason) for gpu in reasons)
