# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Faults that make a plan wrong: GPUs that cannot be read, or that served and cannot be used now.

GPUs that cannot be read are not GPUs that are not there. A plan that takes the one for the other moves models to the
CPU, stops the instances of the GPUs and deletes their stores.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from ...common.gpu_devices import mig_enabled, with_mig_devices
from ..left_out import GpuFault, LeftOutGpu
from ..shapes import Gpu
from .left_alone import LeftAloneGpus
from .selectors import Facts, is_index

OK = "ok"
STAYS = "Nothing is planned, and what serves now stays as it is"
#: Fields of a GPU without which another plan is made: without the list of processes, memory of our own units counts as
#: memory of others; without the PCI address, GPUs and instances change their order.
NEEDED = {
    "processes": "its processes",
    "pci_bus_id": "its PCI address",
    "compute_capability": "its compute capability",
    "compute_mode": "its compute mode",
    "mig": "its MIG mode",
}
WITHOUT_GPUS = (
    "selectors: [] (of the role: ollama_multigpu_gpus) says that the GPUs are not to be used, together with "
    "allow_cpu_offload: true"
)


def gpu_fault(
    gpu_inventory: Facts,
    selectors: Any,
    applied_plan: dict[str, Any],
    usable: Sequence[Gpu],
    left_out: Sequence[LeftOutGpu],
    by_user: Optional[LeftAloneGpus] = None,
) -> Optional[GpuFault]:
    """Why no plan may be made for a host until its GPUs are mended, or None.

    Args:
        gpu_inventory: facts of gpu_facts, checked by inventory.check_inventory.
        selectors: as usable_gpus takes them; an empty list says that no GPU is to be used.
        applied_plan: the plan on the host as applied.sound gives it.
        usable: GPUs that the plan may use.
        left_out: GPUs that are on the host and that the plan does not use.
        by_user: the GPUs that the user leaves alone, which may be gone.
    """
    if selectors is not None and not selectors:
        return None
    given_up = by_user or LeftAloneGpus()
    serving = [uuid for uuid in _serving(applied_plan) if not given_up.gives_up(uuid, applied_plan)]
    return (
        _unreadable(gpu_inventory)
        or _served_before(gpu_inventory, selectors, serving, usable, left_out)
        or _none_usable(gpu_inventory, usable, left_out)
    )


def _unreadable(gpu_inventory: Facts) -> Optional[GpuFault]:
    """The fault of a host whose GPUs cannot be read, unless the kernel says surely that it has none."""
    state = gpu_inventory.get("state") or OK
    if state == OK or gpu_inventory.get("no_gpu_present"):
        return None
    return GpuFault(
        "The GPUs of this host cannot be read (%s): %s. That does not say that it has none. %s."
        % (state, str(gpu_inventory.get("reason") or "no reason is given").rstrip("."), STAYS),
        _remedies(gpu_inventory.get("remedy")),
    )


def _served_before(
    gpu_inventory: Facts, selectors: Any, serving: Sequence[str], usable: Sequence[Gpu], left_out: Sequence[LeftOutGpu]
) -> Optional[GpuFault]:
    """The fault of a GPU that serves models by the applied plan and that no plan can use now.

    Args:
        serving: UUIDs of the GPUs that serve by the applied plan, without those that the user gave up by name.
    """
    usable_uuids = {gpu.uuid for gpu in usable}
    outs = {out.uuid: out for out in left_out}
    problems = []
    for uuid in serving:
        out = outs.get(uuid)
        if out and (not out.selected or out.lasting):
            continue
        if uuid in usable_uuids:
            why = _half_read(uuid, gpu_inventory)
        else:
            why = out.fault if out else _missing(uuid, gpu_inventory, selectors, left_out)
        if why:
            problems.append("GPU %s serves models by the applied plan and cannot be used now: %s" % (uuid, why))
    if not problems:
        return None
    return GpuFault(
        "%s. %s." % ("; ".join(problems), STAYS),
        (
            _what_to_do([outs[uuid] for uuid in serving if uuid in outs]),
            "an entry with its UUID in cordon or exclude says that it is to be given up (of the role: "
            "ollama_multigpu_cordon, ollama_multigpu_exclude), and so do the UUIDs or PCI addresses of the others in "
            "selectors (ollama_multigpu_gpus)",
        ),
    )


def _none_usable(gpu_inventory: Facts, usable: Sequence[Gpu], left_out: Sequence[LeftOutGpu]) -> Optional[GpuFault]:
    """The fault of a host that has GPUs, of which none can be used."""
    if usable or gpu_inventory.get("no_gpu_present"):
        return None
    faults = ["GPU %s: %s" % (out.uuid, out.fault) for out in left_out if out.fault and out.selected]
    if faults and not all(out.lasting for out in left_out if out.fault and out.selected):
        return GpuFault("No usable GPU: %s. %s." % ("; ".join(faults), STAYS), _remedies(_what_to_do(left_out)))
    if not gpu_inventory.get("gpus"):
        return GpuFault(
            "No usable GPU: the facts list none, and they do not say surely that this host has none. %s." % STAYS,
            _remedies(None),
        )
    return None


def _serving(applied_plan: dict[str, Any]) -> list[str]:
    """UUIDs of the GPUs and MIG devices that hold a part of a model by the applied plan."""
    return list(
        dict.fromkeys(
            device["uuid"]
            for instance in applied_plan.get("instances") or []
            for model in instance.get("models") or []
            for device in (model.get("predicted") or {}).get("devices") or []
        )
    )


def _half_read(uuid: str, gpu_inventory: Facts) -> Optional[str]:
    """What the driver failed to tell of a GPU, so that it would be taken for another or a full one; or None."""
    for fact in gpu_inventory.get("gpus") or []:
        if uuid not in [device.get("uuid") for device in with_mig_devices(fact)]:
            continue
        errors = fact.get("errors") or {}
        failed = ["%s (%s)" % (words, errors[field].get("name")) for field, words in NEEDED.items() if field in errors]
        if failed:
            return "the driver fails to tell %s; run nvidia-smi on the host" % " and ".join(failed)
    return None


def _missing(uuid: str, gpu_inventory: Facts, selectors: Any, left_out: Sequence[LeftOutGpu]) -> Optional[str]:
    """Why a GPU that serves is not among the GPUs of the facts as one device; None where the user gave it up."""
    for fact in gpu_inventory.get("gpus") or []:
        if fact.get("uuid") == uuid and mig_enabled(fact):
            return "MIG was switched on, so CUDA cannot use it as a whole; switch MIG off with nvidia-smi -mig 0"
    given = selectors if isinstance(selectors, (list, tuple)) else [selectors] if selectors else []
    # An index names another GPU when one before it is gone; a UUID or PCI address means the GPUs that stay.
    if given and not any(is_index(selector) for selector in given):
        return None
    nameless = [
        "the driver lists it, or another GPU, without a UUID: %s" % out.fault for out in left_out if not _is_uuid(out)
    ]
    if nameless:
        return "; ".join(nameless)
    unlisted = gpu_inventory.get("unlisted") or []
    where = " (the PCI bus has GPUs that the driver does not list: %s)" % ", ".join(unlisted) if unlisted else ""
    return "the driver does not list it%s; look for Xid messages in the kernel log, and reboot the host" % where


def _what_to_do(left_out: Sequence[LeftOutGpu]) -> str:
    """The remedy for GPUs that cannot be used."""
    advice = list(dict.fromkeys(out.advice for out in left_out if out.fault and out.selected and out.advice))
    return "%s, and run again" % "; ".join(advice or ["mend the GPU as the reason says"])


def _is_uuid(out: LeftOutGpu) -> bool:
    return out.uuid.startswith(("GPU-", "MIG-"))


def _remedies(first: Optional[str]) -> tuple[str, ...]:
    return (first, WITHOUT_GPUS) if first else (WITHOUT_GPUS,)
