# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who holds how much of which GPU, from NVML's processes. Pure."""

from __future__ import annotations

MIB = 1024 * 1024
GIB = 1024 * MIB

#: A device differs from its prediction by more than the larger of the two.
TOLERANCE_BYTES = GIB
TOLERANCE_SHARE = 0.10
#: Below this much of a model on a device, a bare CUDA context cannot be told from it by bytes.
SMALLEST_SHARE_BYTES = 512 * MIB


def text(size):
    """ "31.5 GiB", "300 MiB", or "an unknown amount" for None."""
    if size is None:
        return "an unknown amount"
    return "%.1f GiB" % (size / float(GIB)) if size >= GIB else "%d MiB" % round(size / float(MIB))


def devices_by_uuid(gpus):
    """Return {uuid: facts} of all GPUs, and of the MIG devices in place of a GPU that is divided (it lists their processes as well)."""
    found = {}
    for gpu in gpus:
        for device in (gpu.get("mig") or {}).get("devices") or [gpu]:
            if device.get("uuid"):
                found[device["uuid"]] = device
    return found


def held_by(devices, pids, unit):
    """Return {uuid: bytes or None} on every GPU where one of `pids`, or without pids any process of `unit`, is listed.

    None: it is listed, and NVML cannot say with how much, nor can it be worked out from the others.
    """
    held = {}
    for uuid, device in devices.items():
        processes = device.get("processes") or []
        own = [
            process
            for process in processes
            if (process["pid"] in pids if pids else unit and process.get("unit") == unit)
        ]
        if not own:
            continue
        if all(process.get("used_bytes") is not None for process in own):
            held[uuid] = sum(process["used_bytes"] for process in own)
        else:
            held[uuid] = _remainder(device, [process for process in processes if process not in own])
    return held


def _remainder(device, others):
    """What is in use and not explained by the other processes."""
    used = (device.get("memory") or {}).get("used_bytes")
    if used is None or any(process.get("used_bytes") is None for process in others):
        return None
    return max(0, used - sum(process["used_bytes"] for process in others))


def foreign(devices, own_units, uuid):
    """Return [(bytes, process)] of the processes on a GPU that belong to none of the plan's units, largest first."""
    processes = (devices.get(uuid) or {}).get("processes") or []
    found = [(process.get("used_bytes") or 0, process) for process in processes if process.get("unit") not in own_units]
    return sorted(found, key=lambda pair: -pair[0])


def tolerance(predicted):
    """Bytes by which a device may differ from its prediction: the larger of 10 % and 1 GiB."""
    return max(int(predicted * TOLERANCE_SHARE), TOLERANCE_BYTES)


def model_share(device):
    """Bytes of the model itself on a predicted device, without the context of the process."""
    return (device.get("total_bytes") or 0) - (device.get("overhead_bytes") or 0)


def surely_held(device):
    """Bytes of a prediction that an engine holds in any case: all but the scratch memory for weights on the host, which it has only where it computes
    for them (llama.cpp's --op-offload, on devices that offer it)."""
    return (device.get("total_bytes") or 0) - (device.get("offload_scratch_bytes") or 0)


def far(device, observed):
    """Whether a device holds more than predicted, or less than it holds in any case, by more than the tolerance."""
    least, most = surely_held(device), device.get("total_bytes") or 0
    return observed > most + tolerance(most) or observed < least - tolerance(least)


def carries(device, observed):
    """True if a device holds more than a bare CUDA context, judged against its prediction; None where it cannot be told.

    `device`: of the plan's predicted devices; `observed`: bytes by NVML, 0 where the engine is not listed, None where unknown.
    """
    if observed is None:
        return None
    overhead = device.get("overhead_bytes") or 0
    share = surely_held(device) - overhead
    if share < SMALLEST_SHARE_BYTES:
        return observed > 0
    return observed > max(1.5 * overhead, overhead + 0.15 * share)
