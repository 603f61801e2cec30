# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan of a host: check what is asked for, choose GPUs for every model, say what was chosen and why."""

from __future__ import annotations

from typing import Any, Sequence

from .ask import service
from .ask.checked import CheckedRequest, checked
from .search import policy
from .search.fitting import Fitting
from .search.host import Host
from .shapes import Choice, PlanRequest
from .tell import host_memory, instances, moved_addresses, release_changes, report, steps_down, warnings
from .tell.case import Case
from .tell.entries import gpu_entry, left_out_entry

PLAN_VERSION = 1


def make_plan(request: PlanRequest) -> dict[str, Any]:
    """Plan a host: which model on which GPUs, in which instances, with which settings.

    The same request always gives the same plan.

    Returns:
        the plan, as module placement_info documents it. `feasible` is false, and `instances` empty, where a model has
        no place; `models[]` then says what is missing and what would help.

    Raises:
        PlacementError: wrong input; one sentence with the value and the remedy.
    """
    given = checked(request, PLAN_VERSION)
    fitting = Fitting(
        given.service.release,
        given.overhead_bytes,
        given.service.variables,
        given.memory.for_release() if given.memory else None,
    )
    choices, host = _choices(given, fitting)
    built = _instances(given, choices, host)
    reports, notes = _reports(given, fitting, choices, host, built)
    plan = _plan(given, (choices, host), built, reports, notes)
    environments = [one["environment"] for one in plan["instances"]]
    return dict(plan, release_changes=release_changes.release_changes(given, fitting, environments))


def _choices(given: CheckedRequest, fitting: Fitting) -> tuple[list[Choice], Host]:
    host = Host(given.gpus, given.topology, given.applied, given.memory)
    if given.gpu_fault:
        return [Choice(wanted, wanted.strategy) for wanted in given.wanted], host
    choices, host = policy.choose(given.wanted, host, fitting)
    return choices or [], host


def _instances(given: CheckedRequest, choices: Sequence[Choice], host: Host) -> list[instances.Instance]:
    built = instances.build(choices, host, given.service)
    if built:
        service.check_port(max(instance.port for instance in built), given.service.base_port)
    return built


def _reports(
    given: CheckedRequest, fitting: Fitting, choices: Sequence[Choice], host: Host, built: Sequence[instances.Instance]
) -> tuple[list[dict[str, Any]], list[str]]:
    """(the plan's `models`, what the user should know of them)."""
    reports, notes = [], []
    for choice in choices:
        case = Case(
            tuple(choices), choice, given.gpus, fitting, given.topology, given.left_out, given.gpu_fault, given.memory
        )
        entry = report.explain(case, host, built, given.service, given.gpu_inventory)
        reports.append(entry)
        notes.extend(warnings.of_model(choice, entry["capacity"], len(case.empty_host().joinable())))
        notes.extend(warnings.of_speculation(choice, given.service.release))
    return reports, notes


def _plan(
    given: CheckedRequest,
    chosen: tuple[Sequence[Choice], Host],
    built: Sequence[instances.Instance],
    reports: list[dict[str, Any]],
    notes: Sequence[str],
) -> dict[str, Any]:
    release = given.service.release
    choices, host = chosen
    feasible = all(choice.placements for choice in choices)
    entries = [instances.instance_entry(one, given.service) for one in built] if feasible else []
    of_host = host_memory.of_host(given.memory, host, choices) if feasible else []
    fewer = steps_down.steps_down(given.applied_instances, entries)
    moved = moved_addresses.moved_addresses(given.applied_instances, entries)
    tags = warnings.of_moved_tags(given.wanted)
    return {
        "plan_version": PLAN_VERSION,
        "ollama_version": release.version,
        "engine": release.engine,
        "feasible": feasible,
        "models_dir": given.service.models_dir,
        "base_port": given.service.base_port,
        "advertise_address": given.service.advertise_address,
        "models": reports,
        "instances": entries,
        "steps_down": fewer,
        "moved_addresses": moved,
        "moved_tags": tags,
        "without_effect": list(given.without_effect),
        "warnings": [
            *fewer,
            *moved,
            *tags,
            *given.warnings,
            *warnings.of_gpus(given.gpus, given.left_out),
            *given.slot_warnings,
            *notes,
            *of_host,
            *release.notes(),
            *warnings.of_unlisted(given.gpu_inventory),
            *warnings.of_unseen_processes(given.gpu_inventory, given.gpus),
        ],
        "gpus": [gpu_entry(gpu) for gpu in given.gpus],
        "left_out": [left_out_entry(out) for out in given.left_out],
        "host_memory": host_memory.host_entry(given.memory, host, of_host),
    }
