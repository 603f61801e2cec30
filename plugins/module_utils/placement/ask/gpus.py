# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From the facts of gpu_facts to the GPUs that a plan may use, and the memory it may count on.

Available memory = free + what processes of our own units hold; memory of anyone else stays subtracted. So the plan is
the same before and after the models are loaded. A GPU that shares the host's memory has what the host has available,
which is never the same twice: the figure of the applied plan is kept as long as it is nearly right.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Iterator, Optional, Sequence

from ..errors import PlacementError
from ..shapes import Gpu, LeftOutGpu
from .host_memory import held_by, units_of

# Memory that the host has available, and a GPU with it, counts as unchanged up to one in so many bytes of its total.
KEEP_AVAILABLE = 64
HIGHEST_NUMBER = 9999  # that names a GPU in an instance's name

# Name that NVML gives a vGPU: the GPU, then the profile's size and series, as in "NVIDIA A16-4B" or "GRID P40-1B4".
_VGPU_WITHOUT_CUDA = re.compile(r"-[0-9]+[AB][0-9]?\Z")

Facts = dict[str, Any]  # of one GPU or MIG device, or of all, as gpu_facts returns them


def usable_gpus(
    gpu_inventory: Facts, selectors: Any = None, applied_plan: Optional[dict[str, Any]] = None, own_units: Any = ()
) -> tuple[list[Gpu], list[LeftOutGpu]]:
    """GPUs that a plan may use, in PCI order.

    Args:
        gpu_inventory: facts of gpu_facts (`state`, `gpus[]`), checked by inventory.check_inventory.
        selectors: list of index, UUID or PCI address (text or int); None = all GPUs, an empty list = none.
        applied_plan: the plan on the host as applied.sound gives it. The memory of its units counts as ours, and GPUs
            keep the numbers that it gave them.
        own_units: further systemd units whose memory will be given back (an adopted `ollama.service`).

    Returns:
        (GPUs to use, GPUs that are left out).

    Raises:
        PlacementError: a selector matches no GPU.
    """
    applied_plan = applied_plan or {}
    listed = gpu_inventory.get("gpus") or []
    facts = sorted((fact for fact in listed if fact.get("uuid")), key=pci_order)
    numbers = gpu_numbers(facts, applied_plan)
    chosen = select(facts, selectors)
    units = units_of(applied_plan, own_units)
    on_host = held_by(gpu_inventory.get("host_memory") or {}, units)
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
        for device in _devices(fact) or [fact]:
            gpu = _usable(fact, device, numbers[fact["uuid"]], units, applied_plan)
            if gpu and gpu.unified:
                gpu = _shared(gpu, on_host, applied_plan)
            fault = unusable_reason(fact) or (gpu.occupied if gpu else "its memory is unknown to NVML")
            selected = fact["uuid"] in chosen or device["uuid"] in chosen
            if gpu is None or fault or not selected:
                left_out.append(LeftOutGpu(device["uuid"], fault, selected, gpu))
            else:
                gpus.append(gpu)
    return gpus, left_out


def _usable(
    fact: Facts, device: Facts, number: int, units: set[Optional[str]], applied_plan: dict[str, Any]
) -> Optional[Gpu]:
    """What a plan counts on of a GPU or MIG device, or None where NVML does not tell its memory."""
    memory = device.get("memory") or {}
    if memory.get("total_bytes") is None or memory.get("free_bytes") is None:
        return None
    own, foreign = _process_bytes(device, units, applied_plan)
    exclusive = "exclusive" in str(fact.get("compute_mode") or "").lower()
    health = fact.get("health") or {}
    return Gpu(
        uuid=device["uuid"],
        index=fact.get("index"),
        number=number,
        pci_bus_id=fact.get("pci_bus_id"),
        name=device.get("name") or fact.get("name"),
        architecture=fact.get("architecture"),
        compute_capability=capability(fact),
        total_bytes=memory["total_bytes"],
        # What others hold is never available, also where the driver's free and used memory do not add up to the total.
        available_bytes=max(0, min(memory["free_bytes"] + own, memory["total_bytes"] - foreign)),
        foreign_bytes=foreign,
        exclusive=exclusive,
        is_slice=device is not fact,
        numa_node=fact.get("numa_node"),
        unified=memory.get("kind") == "unified",
        degraded=_reasons(health) if health.get("state") == "degraded" else None,
        occupied=_occupied(device, units) if exclusive else None,
    )


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


def _occupied(device: Facts, units: set[Optional[str]]) -> Optional[str]:
    """Why a GPU in exclusive compute mode takes no process of ours, or None: another process computes on it already."""
    for process in device.get("processes") or []:
        if process.get("unit") not in units and process.get("type", "compute") == "compute":
            return (
                "it is in exclusive compute mode and serves process %s (%s) already; end that process, or set the mode "
                "to default with nvidia-smi -c 0" % (process.get("pid"), process.get("name") or "no name")
            )
    return None


def capability(fact: Facts) -> Optional[tuple[int, ...]]:
    """The compute capability of a GPU's facts as releases/ takes it: "8.6" is (8, 6); None where it is not known."""
    parts = str(fact.get("compute_capability") or "").split(".")
    return tuple(int(part) for part in parts if part.isdigit()) or None


def pci_order(fact: Facts) -> tuple[str, str]:
    """Sort key: PCI address, then UUID (a vendor without PCI addresses still sorts the same way every time)."""
    return (str(fact.get("pci_bus_id") or "").lower(), str(fact.get("uuid")))


def gpu_numbers(facts: Sequence[Facts], applied_plan: dict[str, Any]) -> dict[str, int]:
    """The number that names a GPU in instance names: {uuid: number}.

    A GPU keeps by UUID the number that the applied plan gave it; a new one takes its place in PCI order, or the next
    number that is free.
    """
    numbers: dict[str, int] = {}
    known = [fact["uuid"] for fact in facts]
    for gpu in applied_plan.get("gpus") or []:
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


def select(facts: Sequence[Facts], selectors: Any) -> list[str]:
    """UUIDs of the GPUs and MIG devices that the selectors name; those of all GPUs where they are None.

    Raises:
        PlacementError: a selector matches none.
    """
    if selectors is None:
        return [fact["uuid"] for fact in facts]
    if not isinstance(selectors, (list, tuple)):
        selectors = [selectors]
    chosen: list[str] = []
    for selector in selectors:
        text = str(selector).strip().lower()
        matches = [device["uuid"] for fact in facts for device in [fact] + _devices(fact) if _named(text, fact, device)]
        if not matches:
            there = (
                ", ".join("%s (%s, %s)" % (fact.get("index"), fact["uuid"], fact.get("pci_bus_id")) for fact in facts)
                or "none"
            )
            raise PlacementError(
                "GPU selector '%s' matches no GPU of this host; use the index, UUID or PCI address of one of: %s."
                % (selector, there)
            )
        chosen.extend(matches)
    return chosen


def is_index(selector: Any) -> bool:
    """Whether a selector is the driver's index of a GPU, which changes when a GPU before it is gone."""
    return str(selector).strip().isdigit()


def _named(text: str, fact: Facts, device: Facts) -> bool:
    """Whether a selector names a GPU, or by UUID one of its MIG devices."""
    if text == str(device["uuid"]).lower():
        return True
    address = str(fact.get("pci_bus_id") or "").lower()
    # NVML writes the domain with eight digits, sysfs with four.
    long_form = text.count(":") == 2 and text.index(":") == 8 and text.split(":", 1)[1] == address.split(":", 1)[-1]
    return device is fact and (text in (str(fact.get("index")), address) or long_form)


def unusable_reason(fact: Facts) -> Optional[str]:
    """Why a GPU cannot be used, or None."""
    health = fact.get("health") or {}
    if health.get("state") == "unusable":
        return "it is unusable: %s" % _reasons(health)
    if "prohibited" in str(fact.get("compute_mode") or "").lower():
        return "its compute mode is prohibited; set it to default with nvidia-smi -c 0"
    if mig_enabled(fact) and not (fact.get("mig") or {}).get("devices"):
        return "MIG is on and it has no MIG device; create one or switch MIG off"
    if _lacks_cuda(fact):
        return (
            "it is a vGPU with the profile %s, and profiles of the series A and B have no CUDA; give the virtual "
            "machine a profile of the series C or Q" % fact["name"]
        )
    return None


def _lacks_cuda(fact: Facts) -> bool:
    """Whether a GPU is a vGPU of a series for desktops or applications only (NVIDIA vGPU User Guide)."""
    guest = fact.get("virtualization_mode") in (None, "vgpu_guest")
    return guest and _VGPU_WITHOUT_CUDA.search(str(fact.get("name") or "")) is not None


def mig_enabled(fact: Facts) -> bool:
    """Whether a GPU is divided into MIG devices."""
    return (fact.get("mig") or {}).get("mode") == "enabled"


def _devices(fact: Facts) -> list[Facts]:
    """A GPU is one device, a GPU in MIG mode as many as it has MIG devices (CUDA cannot use it as a whole)."""
    if not mig_enabled(fact):
        return [fact]
    return [
        dict(device, processes=device.get("processes") or []) for device in fact["mig"]["devices"] if device.get("uuid")
    ]


def _process_bytes(device: Facts, units: set[Optional[str]], applied_plan: dict[str, Any]) -> tuple[int, int]:
    """(bytes of our own units' processes, bytes of all others) on a device."""
    own = foreign = 0
    for process in device.get("processes") or []:
        unit = process.get("unit")
        used = process.get("used_bytes")
        if unit in units and unit is not None:
            own += _planned_bytes(applied_plan, unit, device["uuid"]) if used is None else used
        else:
            foreign += used or 0
    return own, foreign


def _planned_bytes(applied_plan: dict[str, Any], unit: str, uuid: str) -> int:
    """What the applied plan says a unit holds on a device: used where NVML does not tell the bytes of a process."""
    total = 0
    for instance in applied_plan.get("instances") or []:
        if instance.get("unit") == unit:
            for model in instance.get("models") or []:
                for device in (model.get("predicted") or {}).get("devices") or []:
                    if device["uuid"] == uuid:
                        total += device["total_bytes"]
    return total
