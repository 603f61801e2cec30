# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A request after all checks: what the search starts from."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ...releases import versions
from ...releases.libraries import RefusedGpu
from ...releases.release import Release
from ..errors import PlacementError
from ..left_out import GpuFault, LeftOutGpu
from ..shapes import Gpu, PlanRequest, Wanted
from . import applied, gpu_faults, gpus, inventory, left_alone, service, speculative, user_variables
from .host_memory import HostMemory, host_memory
from .parameters import whole_number
from .request import wanted_models


@dataclasses.dataclass(frozen=True)
class CheckedRequest:
    """A request after all checks.

    Attributes:
        service: what the services have in common.
        wanted: the models.
        gpus: the GPUs that the plan may use, in PCI order.
        left_out: GPUs that are on the host and that the plan does not use.
        gpu_fault: why no plan may be made until the GPUs are mended, or None.
        gpu_inventory: facts of gpu_facts.
        memory: the host's memory, or None where the facts do not have it.
        applied: where the applied plan has each model.
        applied_instances: the instances of the applied plan, as far as it can be relied on.
        applied_version: the release of the applied plan, or None.
        overhead_bytes: measured context overhead per process and GPU, or None.
        warnings: what the user should know of the options.
        slot_warnings: models that get fewer slots than asked for.
        without_effect: a sentence for each entry of cordon and exclude that is over or names no GPU of this host.
    """

    service: service.Service
    wanted: tuple[Wanted, ...]
    gpus: tuple[Gpu, ...]
    left_out: tuple[LeftOutGpu, ...]
    gpu_fault: Optional[GpuFault]
    gpu_inventory: dict[str, Any]
    memory: Optional[HostMemory]
    applied: applied.Applied
    applied_instances: Sequence[dict[str, Any]]
    overhead_bytes: Optional[int]
    warnings: tuple[str, ...]
    slot_warnings: tuple[str, ...]
    without_effect: tuple[str, ...] = ()
    applied_version: Optional[str] = None

    @property
    def topology(self) -> Sequence[Any]:
        """Facts of connections between GPUs."""
        return self.gpu_inventory.get("topology") or []


def checked(request: PlanRequest, plan_version: int) -> CheckedRequest:
    """Check a request.

    Args:
        request: the options of placement_info.
        plan_version: the version of the plans that this collection writes.

    Raises:
        PlacementError: the first value that cannot be; one sentence with the value and the remedy.
    """
    release = _release(request.ollama_version)
    variables, warnings = user_variables.check_environment(request.environment, release)
    unchecked, notes = user_variables.check_unchecked_environment(request.environment_unchecked, variables, release)
    variables, warnings = {**variables, **unchecked}, warnings + notes
    wanted, model_warnings = wanted_models(request.models, variables, request.headroom_bytes)
    for one in wanted:
        speculative.check_release(one, release)
    _check_experts(wanted, release)
    common = service.service_of(release, variables, request)
    overhead_bytes = request.overhead_bytes
    if overhead_bytes is not None:
        overhead_bytes = whole_number(overhead_bytes, "overhead_bytes", 0)
    host_headroom = request.host_headroom_bytes
    if host_headroom is not None:
        host_headroom = whole_number(host_headroom, "host_headroom_bytes", 0)
    inventory.check_inventory(request.gpu_inventory)
    in_force, damage = applied.sound(request.applied_plan, plan_version)
    alone = left_alone.left_alone(request.gpu_inventory, request.cordon, request.exclude, request.now, in_force)
    usable, left_out = gpus.usable_gpus(
        request.gpu_inventory, request.selectors, in_force, request.own_units, alone.by_uuid
    )
    library = variables.get("OLLAMA_LLM_LIBRARY", "")
    usable, left_out = _accepted(release, usable, left_out, request.gpu_inventory.get("driver_version"), library)
    _check_engine(release, wanted, usable)
    return CheckedRequest(
        service=common,
        wanted=tuple(_one_at_a_time(one, release) for one in wanted),
        gpus=tuple(usable),
        left_out=tuple(left_out),
        gpu_fault=gpu_faults.gpu_fault(request.gpu_inventory, request.selectors, in_force, usable, left_out, alone),
        gpu_inventory=request.gpu_inventory,
        memory=host_memory(request.gpu_inventory, usable, in_force, request.own_units, host_headroom),
        applied=applied.Applied(in_force),
        applied_instances=in_force.get("instances") or [],
        applied_version=str(in_force.get("ollama_version") or "") or None,
        overhead_bytes=overhead_bytes,
        warnings=(
            *warnings,
            *model_warnings,
            *_doubts(release, wanted),
            *_notes_on_gpus(release, usable),
            *filter(None, (damage,)),
            *alone.ended,
        ),
        without_effect=(*alone.ended, *alone.elsewhere),
        slot_warnings=tuple(_slot_warning(one, release) for one in wanted if _loses_slots(one, release)),
    )


def _release(version: Any) -> Release:
    """The release that is planned for."""
    try:
        return versions.release_of(version)
    except ValueError as error:
        raise PlacementError(str(error))


def _accepted(
    release: Release, gpus: Sequence[Gpu], left_out: Sequence[LeftOutGpu], driver_version: Optional[str], library: str
) -> tuple[list[Gpu], list[LeftOutGpu]]:
    """The GPUs to use and those that are left out, after those that this Ollama version would leave out on its own.

    Args:
        library: OLLAMA_LLM_LIBRARY, "" where unset.

    Raises:
        PlacementError: OLLAMA_LLM_LIBRARY leaves every GPU out.
    """
    accepted = []
    refused = []
    for gpu in gpus:
        fault = release.refused_gpu(gpu.compute_capability, driver_version, library)
        if fault:
            refused.append(_refused(gpu, fault))
        else:
            names = release.gpu_libraries(gpu.compute_capability, driver_version, library)
            accepted.append(dataclasses.replace(gpu, libraries=names))
    if library and refused and not accepted:
        raise PlacementError(
            "OLLAMA_LLM_LIBRARY is '%s', with which Ollama %s finds no GPU of this host: %s."
            % (library, release.version, "; ".join("GPU %s: %s" % (out.uuid, out.fault) for out in refused))
        )
    return accepted, [*left_out, *refused]


def _refused(gpu: Gpu, fault: RefusedGpu) -> LeftOutGpu:
    """A GPU that the release leaves out. Another driver makes it usable; its compute capability stays what it is."""
    return LeftOutGpu(gpu.uuid, fault.reason, gpu=gpu, lasting=fault.lasting, advice=fault.advice)


def _notes_on_gpus(release: Release, gpus: Sequence[Gpu]) -> list[str]:
    """What is not known of the GPUs on this release, and why one process cannot use all of them; one sentence each."""
    doubts = [(gpu.uuid, release.doubted_gpu(gpu.compute_capability)) for gpu in gpus]
    notes = ["GPU %s: %s." % (uuid, doubt) for uuid, doubt in doubts if doubt]
    whole = [gpu for gpu in gpus if not gpu.is_slice]
    too_many = release.note_on_host(len(whole))
    mixed = release.refused_set([gpu.for_release(gpu.available_bytes) for gpu in whole])
    if too_many:
        return [*notes, too_many]
    return [*notes, "%s." % mixed] if mixed else notes


def _check_engine(release: Release, wanted: Sequence[Wanted], gpus: Sequence[Gpu]) -> None:
    """Refuse what the engine of this Ollama version cannot load, or not on NVIDIA GPUs.

    Raises:
        PlacementError: an architecture, of the model or of its draft model, or a type of the KV cache.
    """
    for one in wanted:
        fault = release.refused_architecture(one.facts.architecture)
        if fault is None and one.kv_cache_type and gpus and one.num_gpu != 0:
            fault = release.refused_cache(one.facts, one.kv_cache_type)
        if fault:
            raise PlacementError("%s cannot be planned: %s." % (one.name, fault))
        if one.facts.draft is not None and release.speculation(one.facts, one.drafted).kind:
            fault = release.refused_architecture(one.facts.draft.architecture)
            if fault:
                raise PlacementError(
                    "%s cannot be planned with its draft model: %s, or set speculative: {type: none}."
                    % (one.name, fault)
                )


def _doubts(release: Release, wanted: Sequence[Wanted]) -> list[str]:
    """What is not known of the models on this release, one sentence each."""
    doubts = [(one.name, release.doubted_architecture(one.facts.architecture)) for one in wanted]
    return ["%s: %s." % (name, doubt) for name, doubt in doubts if doubt]


def _check_experts(wanted: Sequence[Wanted], release: Release) -> None:
    """Refuse experts on the CPU where the release has no engine that is told of them."""
    for one in wanted:
        if one.cpu_experts and not release.reads_engine_variables:
            raise PlacementError(
                "cpu_experts of %s needs Ollama 0.30 or later, whose engine keeps experts on the CPU; %s does not. "
                "Plan for a later release, or use allow_cpu_offload: true." % (one.name, release.version)
            )


def _one_at_a_time(wanted: Wanted, release: Release) -> Wanted:
    """The model with one slot, where this release serves it one request at a time."""
    if not release.one_request_at_a_time(wanted.facts):
        return wanted
    return dataclasses.replace(wanted, parallel=1, one_at_a_time=True)


def _loses_slots(wanted: Wanted, release: Release) -> bool:
    return wanted.parallel > 1 and release.one_request_at_a_time(wanted.facts)


def _slot_warning(wanted: Wanted, release: Release) -> str:
    return "%s is served one request at a time by Ollama %s, so parallel %d has no effect." % (
        wanted.name,
        release.version,
        wanted.parallel,
    )
