# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From the facts of gpu_facts to the GPUs that a plan may use, and the memory it may count on.

Available memory = free + what processes of our own units hold; memory of anyone else stays subtracted. So the plan is
the same before and after the models are loaded.
"""

from __future__ import annotations

from .errors import PlacementError

INSTANCE_UNIT_PREFIX = "ollama@"


def usable_gpus(gpu_inventory, selectors=None, applied_plan=None, own_units=()):
    """GPUs that a plan may use, in PCI order.

    Args:
        gpu_inventory: facts of gpu_facts (`state`, `gpus[]`).
        selectors: list of index, UUID or PCI address (text or int); empty = all GPUs.
        applied_plan: the plan on the host, or None; its units' memory counts as ours, its numbers are kept.
        own_units: further systemd units whose memory will be given back (an adopted `ollama.service`).

    Returns:
        (gpus, left_out). gpus: list of dicts {uuid, index, number, pci_bus_id, name, architecture, total_bytes,
        available_bytes, foreign_bytes, exclusive, is_slice, numa_node}; left_out: list of {uuid, reason}.

    Raises:
        PlacementError: a selector matches no GPU.
    """
    applied_plan = sound(applied_plan)
    facts = sorted((fact for fact in gpu_inventory.get("gpus") or [] if fact.get("uuid")), key=pci_order)
    numbers = gpu_numbers(facts, applied_plan)
    chosen = select(facts, selectors)
    nameless = [fact for fact in gpu_inventory.get("gpus") or [] if not fact.get("uuid")]
    units = {instance.get("unit") for instance in applied_plan.get("instances") or []}
    units.update(own_units)
    gpus = []
    left_out = [{"uuid": fact.get("pci_bus_id") or "at index %s" % fact.get("index"), "reason": unusable_reason(fact) or "it has no UUID"} for fact in nameless]
    for fact in chosen:
        reason = unusable_reason(fact)
        if reason:
            left_out.append({"uuid": fact["uuid"], "reason": reason})
            continue
        for device in _devices(fact):
            memory = device.get("memory") or {}
            if memory.get("total_bytes") is None or memory.get("free_bytes") is None:
                left_out.append({"uuid": device["uuid"], "reason": "its memory is unknown to NVML"})
                continue
            own, foreign = _process_bytes(device, units, applied_plan)
            gpus.append(
                {
                    "uuid": device["uuid"],
                    "index": fact.get("index"),
                    "number": numbers[fact["uuid"]],
                    "pci_bus_id": fact.get("pci_bus_id"),
                    "name": device.get("name") or fact.get("name"),
                    "architecture": fact.get("architecture"),
                    "compute_capability": [int(part) for part in str(fact.get("compute_capability") or "").split(".") if part.isdigit()] or None,
                    "total_bytes": memory["total_bytes"],
                    "available_bytes": min(memory["free_bytes"] + own, memory["total_bytes"]),
                    "foreign_bytes": foreign,
                    "exclusive": "exclusive" in str(fact.get("compute_mode") or "").lower(),
                    "is_slice": device is not fact,
                    "numa_node": fact.get("numa_node"),
                }
            )
    return gpus, left_out


def sound(applied_plan):
    """The applied plan if it has the shape of one, else an empty one: a damaged file must not stop the next plan."""
    applied_plan = applied_plan or {}
    try:
        for gpu in applied_plan.get("gpus") or []:
            gpu["uuid"], gpu.get("number")
        for instance in applied_plan.get("instances") or []:
            instance.get("unit")
            for model in instance.get("models") or []:
                for device in (model.get("predicted") or {}).get("devices") or []:
                    device["uuid"], device["total_bytes"] + 0
    except (AttributeError, KeyError, TypeError):
        return {}
    return applied_plan


def pci_order(fact):
    """Sort key: PCI address, then UUID (a vendor without PCI addresses still sorts the same way every time)."""
    return (str(fact.get("pci_bus_id") or "").lower(), str(fact.get("uuid")))


def gpu_numbers(facts, applied_plan):
    """The number that names a GPU in instance names: {uuid: number}.

    A GPU keeps by UUID the number that the applied plan gave it; a new one takes its place in PCI order, or the next
    number that is free.
    """
    numbers = {}
    for gpu in applied_plan.get("gpus") or []:
        if gpu.get("number") is not None:
            numbers[gpu["uuid"]] = gpu["number"]
    known = [fact["uuid"] for fact in facts]
    numbers = {uuid: number for uuid, number in numbers.items() if uuid in known}
    for place, uuid in enumerate(known):
        if uuid not in numbers:
            taken = set(numbers.values())
            numbers[uuid] = next(number for number in _count_from(place) if number not in taken)
    return numbers


def _count_from(number):
    while True:
        yield number
        number += 1


def select(facts, selectors):
    """The facts that the selectors name, in PCI order; all of them without selectors."""
    if not selectors:
        return facts
    chosen = set()
    for selector in selectors:
        text = str(selector).strip().lower()
        matches = [
            fact["uuid"]
            for fact in facts
            if text in (str(fact.get("index")), fact["uuid"].lower(), str(fact.get("pci_bus_id") or "").lower())
            or (text.count(":") == 2 and text.split(":", 1)[1] == str(fact.get("pci_bus_id") or "").lower().split(":", 1)[-1] and text.index(":") == 8)
        ]
        if not matches:
            there = ", ".join("%s (%s, %s)" % (fact.get("index"), fact["uuid"], fact.get("pci_bus_id")) for fact in facts) or "none"
            raise PlacementError(
                "GPU selector '%s' matches no GPU of this host; use the index, UUID or PCI address of one of: %s." % (selector, there)
            )
        chosen.update(matches)
    return [fact for fact in facts if fact["uuid"] in chosen]


def unusable_reason(fact):
    """Why a GPU cannot be planned with, or None."""
    health = fact.get("health") or {}
    if health.get("state") == "unusable":
        return "it is unusable: %s" % ("; ".join(str(reason) for reason in health.get("reasons") or []) or "no reason given")
    if "prohibited" in str(fact.get("compute_mode") or "").lower():
        return "its compute mode is prohibited; set it to default with nvidia-smi -c 0"
    if _mig_enabled(fact) and not (fact.get("mig") or {}).get("devices"):
        return "MIG is on and it has no MIG device; create one or switch MIG off"
    return None


def _mig_enabled(fact):
    return (fact.get("mig") or {}).get("mode") == "enabled"


def _devices(fact):
    """A GPU is one device, a GPU in MIG mode as many as it has MIG devices (CUDA cannot use it as a whole)."""
    if not _mig_enabled(fact):
        return [fact]
    return [dict(device, processes=device.get("processes") or []) for device in fact["mig"]["devices"]]


def _process_bytes(device, units, applied_plan):
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


def _planned_bytes(applied_plan, unit, uuid):
    """What the applied plan says a unit holds on a device: stands in where NVML does not tell a process's bytes."""
    total = 0
    for instance in applied_plan.get("instances") or []:
        if instance.get("unit") == unit:
            for model in instance.get("models") or []:
                for device in (model.get("predicted") or {}).get("devices") or []:
                    if device["uuid"] == uuid:
                        total += device["total_bytes"]
    return total
