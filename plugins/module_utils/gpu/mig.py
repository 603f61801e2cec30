# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The MIG devices of a GPU, and the processes in them and on the GPU."""

from __future__ import annotations

from typing import Any

from . import processes, schema
from .fields import NOT_FOUND, FieldError, Fields, Unavailable, call
from .processes import Listed


def read(fields: Fields, handle: Any, total_bytes: int | None) -> tuple[schema.Mig, list[schema.Process]]:
    """Return the MIG mode and devices of a GPU, and the processes on it.

    Args:
        fields: of the GPU. An unreadable list of processes is no error where the MIG devices have listed them.
        handle: of the GPU.
        total_bytes: its memory.
    """
    modes = fields.read("mig", "nvmlDeviceGetMigMode", handle, convert=tuple)
    on_gpu = processes.read(fields, handle, total_bytes)
    found = [process for process, unused in on_gpu]
    if modes is None:
        return schema.Mig(), found
    names = {0: "disabled", 1: "enabled"}
    mig = schema.Mig(mode=names.get(modes[0]), pending_mode=names.get(modes[1]))
    if mig.mode == "enabled":
        mig.devices, are_listed = _devices(fields, handle, on_gpu)
        if are_listed:
            fields.errors.pop("processes", None)
            fields.unsupported = [name for name in fields.unsupported if name != "processes"]
        known = {process.pid for process in found}
        found += [one for device in mig.devices for one in device.processes if one.pid not in known]
    return mig, found


def _devices(fields: Fields, handle: Any, on_gpu: list[Listed]) -> tuple[list[schema.MigDevice], bool]:
    """Return the MIG devices of a GPU, and whether each of them lists its processes itself.

    Args:
        fields: of the GPU.
        handle: of the GPU.
        on_gpu: the processes that NVML lists on the GPU.
    """
    devices, are_listed = [], True
    for number in range(fields.read("mig.devices", "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        try:
            slice_handle = call(fields.pynvml, ("nvmlDeviceGetMigDeviceHandleByIndex",), handle, number)
        except Unavailable:
            continue
        except FieldError as error:
            if error.code != NOT_FOUND:  # this index has no device, but the next one may
                fields.errors["mig.devices"] = {"code": error.code, "name": error.name}
            continue
        own = Fields(fields.pynvml)  # a MIG device lacks most fields, which the GPU itself may have
        memory = own.read("memory", "nvmlDeviceGetMemoryInfo", slice_handle, convert=lambda value: value)
        device = schema.MigDevice(
            uuid=own.read("uuid", "nvmlDeviceGetUUID", slice_handle),
            name=own.read("name", "nvmlDeviceGetName", slice_handle),
            gpu_instance_id=own.read("gpu_instance_id", "nvmlDeviceGetGpuInstanceId", slice_handle),
            compute_instance_id=own.read("compute_instance_id", "nvmlDeviceGetComputeInstanceId", slice_handle),
            memory=schema.Memory()
            if memory is None
            else schema.Memory(total_bytes=memory.total, free_bytes=memory.free, used_bytes=memory.used),
        )
        device.processes = _processes_of(own, slice_handle, device, on_gpu)
        are_listed = are_listed and "processes" not in own.unsupported and "processes" not in own.errors
        devices.append(device)
    return devices, are_listed and bool(devices)


def _processes_of(own: Fields, handle: Any, device: schema.MigDevice, on_gpu: list[Listed]) -> list[schema.Process]:
    """Return the processes in a MIG device.

    NVML lists them on the handle of the MIG device, and on that of the GPU with their instances where the caller has
    privileges (nvmlDeviceGetComputeRunningProcesses).
    """
    found = {process.pid: process for process, unused in processes.read(own, handle, device.memory.total_bytes)}
    for process, instances in on_gpu:
        if instances == (device.gpu_instance_id, device.compute_instance_id):
            found.setdefault(process.pid, process)
    return [found[pid] for pid in sorted(found)]
