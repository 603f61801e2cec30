# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan of a host: check what is asked for, choose GPUs for every model, say what was chosen and why."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ..releases import versions
from ..releases.release import Release
from .ask import applied, inventory, service
from .ask import environment as variables
from .ask import gpus as gpu_facts
from .ask.parameters import whole_number
from .ask.request import wanted_models
from .errors import PlacementError
from .search import policy
from .search.fitting import Fitting
from .search.host import Host
from .shapes import Choice, Gpu, LeftOutGpu, PlanRequest, Wanted
from .tell import instances, remedies, report, warnings
from .tell.entries import gpu_entry

PLAN_VERSION = 1


@dataclasses.dataclass(frozen=True)
class _Input:
    """A request after its checks, and what the user should know of it."""

    service: service.Service
    wanted: tuple[Wanted, ...]
    gpus: tuple[Gpu, ...]
    left_out: tuple[LeftOutGpu, ...]
    gpu_inventory: dict[str, Any]
    applied: applied.Applied
    overhead_bytes: Optional[int]
    warnings: tuple[str, ...]

    @property
    def topology(self) -> Sequence[Any]:
        """Facts of connections between GPUs."""
        return self.gpu_inventory.get("topology") or []


def make_plan(request: PlanRequest) -> dict[str, Any]:
    """Plan a host: which model on which GPUs, in which instances, with which settings.

    The same request always gives the same plan.

    Returns:
        the plan, as module placement_info documents it. `feasible` is false, and `instances` empty, where a model has
        no place; `models[]` then says what is missing and what would help.

    Raises:
        PlacementError: wrong input; one sentence with the value and the remedy.
    """
    given = _checked(request)
    fitting = Fitting(given.service.release, given.overhead_bytes, given.service.variables)
    choices, host = _choices(given, fitting)
    built = _built(choices, host, given.service)
    reports = _reports(given, fitting, choices, host, built)
    return _plan(given, choices, built, reports)


def _checked(request: PlanRequest) -> _Input:
    release = _release(request.ollama_version)
    checked, notes = variables.check_environment(request.environment, release)
    wanted, more = wanted_models(request.models, checked, request.headroom_bytes)
    notes = notes + more
    common = service.service_of(release, checked, request.models_dir, request.listen_address, request.base_port)
    overhead_bytes = request.overhead_bytes
    if overhead_bytes is not None:
        overhead_bytes = whole_number(overhead_bytes, "overhead_bytes", 0)
    inventory.check_inventory(request.gpu_inventory)
    in_force, note = applied.sound(request.applied_plan, PLAN_VERSION)
    notes = notes + ([note] if note else [])
    gpus, left_out = gpu_facts.usable_gpus(request.gpu_inventory, request.selectors, in_force, request.own_units)
    gpus, left_out = _accepted(release, gpus, left_out, request.gpu_inventory.get("driver_version"))
    notes = notes + warnings.of_gpus(gpus, left_out)
    served = [_one_at_a_time(one, release) for one in wanted]
    return _Input(
        service=common,
        wanted=tuple(one for one, dummy in served),
        gpus=tuple(gpus),
        left_out=tuple(left_out),
        gpu_inventory=request.gpu_inventory,
        applied=applied.Applied(in_force),
        overhead_bytes=overhead_bytes,
        warnings=tuple(notes + [note for dummy, several in served for note in several]),
    )


def _release(version: Any) -> Release:
    """The release that is planned for."""
    try:
        return versions.release_of(version)
    except ValueError as error:
        raise PlacementError(str(error))


def _accepted(
    release: Release, gpus: Sequence[Gpu], left_out: Sequence[LeftOutGpu], driver_version: Optional[str]
) -> tuple[list[Gpu], list[LeftOutGpu]]:
    """The GPUs to use and those that are left out, after those that this Ollama version would leave out on its own."""
    accepted = []
    refused = list(left_out)
    for gpu in gpus:
        fault = release.refused_gpu(gpu.compute_capability, driver_version)
        if fault:
            # Another driver makes a GPU usable, whereas its compute capability stays what it is.
            refused.append(LeftOutGpu(gpu.uuid, fault, gpu=gpu if "driver" in fault else None))
        else:
            accepted.append(gpu)
    return accepted, refused


def _one_at_a_time(wanted: Wanted, release: Release) -> tuple[Wanted, list[str]]:
    """(the model, warnings): it gets one slot where this release serves it one request at a time."""
    if not release.one_request_at_a_time(wanted.facts):
        return wanted, []
    notes = []
    if wanted.parallel > 1:
        notes.append(
            "%s is served one request at a time by Ollama %s, so parallel %d has no effect."
            % (wanted.name, release.version, wanted.parallel)
        )
    return dataclasses.replace(wanted, parallel=1, one_at_a_time=True), notes


def _choices(given: _Input, fitting: Fitting) -> tuple[list[Choice], Host]:
    choices, host = policy.choose(given.wanted, Host(given.gpus, given.topology, given.applied), fitting)
    return choices or [], host


def _built(choices: Sequence[Choice], host: Host, common: service.Service) -> list[instances.Instance]:
    built = instances.build(choices, host, common)
    if built:
        service.check_port(max(instance.port for instance in built), common.base_port)
    return built


def _reports(
    given: _Input, fitting: Fitting, choices: Sequence[Choice], host: Host, built: Sequence[instances.Instance]
) -> list[dict[str, Any]]:
    reports = []
    for choice in choices:
        case = remedies.Case(tuple(choices), choice, given.gpus, fitting, given.topology, given.left_out)
        reports.append(report.explain(case, host, built, given.service, given.gpu_inventory))
    return reports


def _plan(
    given: _Input, choices: Sequence[Choice], built: Sequence[instances.Instance], reports: list[dict[str, Any]]
) -> dict[str, Any]:
    release = given.service.release
    feasible = all(choice.placements for choice in choices)
    notes = list(given.warnings)
    for choice, entry in zip(choices, reports):
        notes.extend(warnings.of_model(choice, entry["capacity"]))
    return {
        "plan_version": PLAN_VERSION,
        "ollama_version": release.version,
        "engine": release.engine,
        "feasible": feasible,
        "models_dir": given.service.models_dir,
        "base_port": given.service.base_port,
        "models": reports,
        "instances": [instances.instance_entry(one, given.service) for one in built] if feasible else [],
        "warnings": notes + release.notes() + warnings.of_unlisted(given.gpu_inventory),
        "gpus": [gpu_entry(gpu) for gpu in given.gpus],
    }
