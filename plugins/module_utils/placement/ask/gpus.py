# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From the facts of gpu_facts to the GPUs that a plan may use, and the memory it may count on.

Available memory = free + what processes of our own units hold; memory of anyone else stays subtracted. So the plan is
the same before and after the models are loaded. A GPU that shares the host's memory has what the host has available,
which is never the same twice: the figure of the applied plan is kept as long as it is nearly right.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Mapping, Optional, Sequence

from ...common.gpu_devices import mig_devices, mig_enabled
from ...common.pci import in_pci_order
from ...common.vgpu import series_without_cuda
from ...releases.libraries import compute_capability
from ..left_out import LeftAlone, LeftOutGpu
from ..shapes import Gpu
from .host_memory import held_on_host, units_of
from .own_memory import OwnMemory, own_memory, planned_gpu
from .selectors import Facts, devices, select

# Memory that the host has available, and a GPU with it, counts as unchanged up to one in so many bytes of its total.
KEEP_AVAILABLE = 64
HIGHEST_NUMBER = 9999  # that names a GPU in an instance's name


def usable_gpus(
    gpu_inventory: Facts,
    selectors: Any = None,
    applied_plan: Optional[dict[str, Any]] = None,
    own_units: Any = (),
    alone: Optional[Mapping[str, LeftAlone]] = None,
) -> tuple[list[Gpu], list[LeftOutGpu]]:
    """GPUs that a plan may use, in PCI order.

    Args:
        gpu_inventory: facts of gpu_facts (`state`, `gpus[]`), checked by inventory.check_inventory.
        selectors: list of index, UUID or PCI address (text or int); None = all GPUs, an empty list = none.
        applied_plan: the plan on the host as applied.sound gives it. The memory of its units counts as ours, and GPUs
            keep the numbers that it gave them.
        own_units: further systemd units whose memory will be given back (an adopted `ollama.service`).
        alone: by UUID, the GPUs and MIG devices that are cordoned or excluded (left_alone.py).

    Returns:
        (GPUs to use, GPUs that are left out).

    Raises:
        PlacementError: a selector matches no GPU.
    """
    applied_plan, alone = applied_plan or {}, alone or {}
    listed = [_with_address(fact, applied_plan) for fact in gpu_inventory.get("gpus") or []]
    facts = in_pci_order(fact for fact in listed if fact.get("uuid"))
    numbers = gpu_numbers(facts, applied_plan)
    chosen = select(facts, selectors)
    units = units_of(applied_plan, own_units)
    ours = own_memory(units, gpu_inventory, applied_plan)
    on_host = held_on_host(gpu_inventory.get("host_memory") or {}, units)
    gpus = []
    left_out = [
        LeftOutGpu(
            uuid=fact.get("pci_bus_id") or "at index %s" % fact.get("index"),
            fault=unusable_reason(fact) or "it has no UUID",
        )
        for fact in listed
        if not fact.get("uuid")
    ]
    for fact in facts:
        for device in devices(fact) or [fact]:
            gpu = _usable(fact, device, numbers[fact["uuid"]], ours)
            if gpu and gpu.unified:
                gpu = _shared(gpu, on_host, applied_plan)
            fault = unusable_reason(fact) or (gpu.occupied if gpu else "its memory is unknown to NVML")
            by_user = alone.get(device["uuid"]) or alone.get(fact["uuid"])
            selected = (fact["uuid"] in chosen or device["uuid"] in chosen) and by_user is None
            if gpu is None or fault or not selected:
                left_out.append(LeftOutGpu(device["uuid"], fault, selected, gpu, alone=by_user))
            else:
                gpus.append(gpu)
    return gpus, left_out


def _usable(fact: Facts, device: Facts, number: int, ours: OwnMemory) -> Optional[Gpu]:
    """What a plan counts on of a GPU or MIG device, or None where NVML does not tell its memory."""
    memory = device.get("memory") or {}
    if memory.get("total_bytes") is None or memory.get("free_bytes") is None:
        return None
    unified, before = memory.get("kind") == "unified", ours.before(device["uuid"])
    if unified and before.get("memory_kind") == "dedicated":
        return None  # a GPU does not lose its memory: it cannot be read
    own, foreign = ours.split(fact, device)
    exclusive = "exclusive" in str(fact.get("compute_mode") or "").lower()
    return Gpu(
        uuid=device["uuid"],
        index=fact.get("index"),
        number=number,
        pci_bus_id=fact.get("pci_bus_id"),
        name=device.get("name") or fact.get("name"),
        architecture=fact.get("architecture"),
        compute_capability=compute_capability(fact.get("compute_capability")),
        total_bytes=memory["total_bytes"],
        # What others hold is never available, also where the driver's free and used memory do not add up to the total.
        available_bytes=max(0, min(memory["free_bytes"] + own, memory["total_bytes"] - foreign)),
        foreign_bytes=foreign,
        exclusive=exclusive,
        is_slice=device is not fact,
        numa_node=fact.get("numa_node"),
        unified=unified,
        degraded=_degraded(fact),
        occupied=_occupied(device, ours.units) if exclusive else None,
    )


def _with_address(fact: Facts, applied_plan: dict[str, Any]) -> Facts:
    """A GPU with the PCI address of the applied plan where NVML does not tell it, so that the order of GPUs stays."""
    address = fact.get("pci_bus_id") or planned_gpu(applied_plan, str(fact.get("uuid"))).get("pci_bus_id")
    return dict(fact, pci_bus_id=address)


def _shared(gpu: Gpu, on_host: int, applied_plan: dict[str, Any]) -> Gpu:
    """A GPU that shares the host's memory, with what our own units hold there outside the GPU as well."""
    available = min(gpu.available_bytes + on_host, gpu.total_bytes - gpu.foreign_bytes)
    for entry in applied_plan.get("gpus") or []:
        before = entry.get("available_bytes")
        if entry["uuid"] == gpu.uuid and isinstance(before, int):
            if abs(available - before) <= gpu.total_bytes // KEEP_AVAILABLE:
                available = before
    return dataclasses.replace(gpu, available_bytes=max(0, available))


def _reasons(health: Facts) -> str:
    return "; ".join(str(reason) for reason in health.get("reasons") or []) or "no reason given"


def _degraded(fact: Facts) -> Optional[str]:
    """Why a GPU is to be used after others, or None; a MIG mode that waits for a reset is a reason of its own."""
    health, mig = fact.get("health") or {}, fact.get("mig") or {}
    reasons = [str(reason) for reason in health.get("reasons") or []] if health.get("state") == "degraded" else []
    if health.get("state") == "degraded" and not reasons:
        reasons = ["no reason given"]
    mode, pending = mig.get("mode"), mig.get("pending_mode")
    if mode and pending and mode != pending and not any(reason.startswith("MIG will be") for reason in reasons):
        reasons.append("MIG will be %s after the next reset" % pending)
    if reasons and pending == "enabled" and mode == "disabled":
        reasons.append("it cannot be used as a whole then; keep MIG off with nvidia-smi -mig 0")
    if reasons and pending == "disabled" and mode == "enabled":
        reasons.append("its MIG devices are gone then; keep MIG on with nvidia-smi -mig 1")
    return "; ".join(reasons) or None


def _occupied(device: Facts, units: set[Optional[str]]) -> Optional[str]:
    """Why a GPU in exclusive compute mode takes no process of ours, or None: another process computes on it already."""
    for process in device.get("processes") or []:
        if process.get("unit") not in units and process.get("type", "compute") == "compute":
            return (
                "it is in exclusive compute mode and serves process %s (%s) already; end that process, or set the mode "
                "to default with nvidia-smi -c 0" % (process.get("pid"), process.get("name") or "no name")
            )
    return None


def gpu_numbers(facts: Sequence[Facts], applied_plan: dict[str, Any]) -> dict[str, int]:
    """The number that names a GPU in instance names: {uuid: number}.

    A GPU keeps by UUID the number that the applied plan gave it, also while that plan leaves it out; a new one takes
    its place in PCI order, or the next number that is free.
    """
    numbers: dict[str, int] = {}
    known = [fact["uuid"] for fact in facts]
    for gpu in [*(applied_plan.get("gpus") or []), *(applied_plan.get("left_out") or [])]:
        number = gpu.get("number")
        if (
            isinstance(number, int)
            and 0 <= number <= HIGHEST_NUMBER
            and gpu["uuid"] in known
            and number not in numbers.values()
        ):
            numbers[gpu["uuid"]] = number
    for place, uuid in enumerate(known):
        if uuid not in numbers:
            taken = set(numbers.values())
            numbers[uuid] = next(number for number in _count_from(place) if number not in taken)
    return numbers


def _count_from(number: int) -> Iterator[int]:
    while True:
        yield number
        number += 1


def unusable_reason(fact: Facts) -> Optional[str]:
    """Why a GPU cannot be used, or None."""
    health = fact.get("health") or {}
    if health.get("state") == "unusable":
        return "it is unusable: %s" % _reasons(health)
    if "prohibited" in str(fact.get("compute_mode") or "").lower():
        return "its compute mode is prohibited; set it to default with nvidia-smi -c 0"
    if mig_enabled(fact) and not mig_devices(fact):
        return "MIG is on and it has no MIG device; create one or switch MIG off"
    if _lacks_cuda(fact):
        return (
            "it is a vGPU with the profile %s, and profiles of the series A and B have no CUDA; give the virtual "
            "machine a profile of the series C or Q" % fact["name"]
        )
    return None


def _lacks_cuda(fact: Facts) -> bool:
    """Whether a GPU is a vGPU of a series for desktops or applications only."""
    guest = fact.get("virtualization_mode") in (None, "vgpu_guest")
    return guest and series_without_cuda(fact.get("name")) is not None
