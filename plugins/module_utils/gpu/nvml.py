# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read a host's GPUs through NVML (nvidia-ml-py), in a child process with a deadline.

There is one nvmlInit and one nvmlShutdown per reading: without persistence mode each of them may take seconds per GPU.
"""

from __future__ import annotations

from typing import Any

from ..common.libraries import LibraryMissing, import_pynvml
from ..host.child import ChildDied, DeadlineExceeded, run_with_deadline
from . import device, health, host_memory, schema, sysfs
from .fields import FieldError, Unavailable, call, text

#: NVML's answer to nvmlInit -> state of the inventory.
_INIT_STATES = {
    4: schema.NO_PERMISSION,
    6: schema.NO_DEVICES,
    9: schema.DRIVER_NOT_LOADED,
    12: schema.NO_LIBRARY,
    17: schema.NO_PERMISSION,
    18: schema.VERSION_MISMATCH,
}

#: NVML_TOPOLOGY_* -> the abbreviations of `nvidia-smi topo -m`.
_PATHS = {0: "internal", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}


def read_inventory(timeout: float = 30.0) -> tuple[dict[str, Any], LibraryMissing | None]:
    """Return the inventory of this host. What is wrong with the host is in its `state`, `reason` and `remedy`.

    Args:
        timeout: seconds that the driver may take to answer.

    Returns:
        (facts, missing): the fact `gpu_inventory`, and the exception where nvidia-ml-py is missing.
    """
    try:
        pynvml = import_pynvml()
    except LibraryMissing as missing:
        return schema.as_facts(_without(schema.NO_BINDING, str(missing))), missing
    try:
        return run_with_deadline(read_here, (pynvml,), timeout), None
    except DeadlineExceeded:
        inventory = _without(schema.TIMEOUT, "NVML gave no answer within %g seconds" % timeout)
    except ChildDied as died:
        inventory = _without(
            schema.NVML_ERROR, "The driver's library libnvidia-ml.so.1 crashed the process that called it: %s" % died
        )
    return schema.as_facts(inventory), None


def read_here(pynvml: Any) -> dict[str, Any]:
    """Return the fact `gpu_inventory`, read in this process and without a deadline."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return schema.as_facts(_init_failure(error.value, str(error)))
    except AttributeError as error:
        return schema.as_facts(_without(schema.NVML_ERROR, "The NVML binding does not match the library: %s" % error))
    try:
        return schema.as_facts(_inventory(pynvml))
    except FieldError as error:
        return schema.as_facts(_without(schema.NVML_ERROR, str(error)))
    finally:
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            pass  # the reading is done


def _inventory(pynvml: Any) -> schema.Inventory:
    inventory = schema.Inventory(
        host_memory=host_memory.read(),
        wsl=sysfs.is_wsl(),
        driver_version=_system(pynvml, "nvmlSystemGetDriverVersion"),
        nvml_version=_system(pynvml, "nvmlSystemGetNVMLVersion"),
        cuda_version=_cuda_version(
            _system(pynvml, "nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
        ),
    )
    handles = []
    for index in range(call(pynvml, ("nvmlDeviceGetCount",))):
        handle, gpu = device.read(pynvml, index)
        inventory.gpus.append(gpu)
        handles.append((handle, gpu))
    inventory.topology = _topology(
        pynvml, [(handle, gpu) for handle, gpu in handles if handle is not None and gpu.uuid]
    )
    listed = {gpu.pci_bus_id for gpu in inventory.gpus}
    inventory.unlisted = [address for address in sysfs.pci_gpus() if address not in listed]
    if not inventory.gpus:
        inventory.no_gpu_present = sysfs.no_gpu_present()
        inventory.state = schema.NO_DEVICES
        inventory.reason = "The NVIDIA driver %s lists no GPU%s" % (inventory.driver_version or "", _seen_on_the_bus())
        inventory.remedy = health.REMEDIES[schema.NO_DEVICES]
    return inventory


def _system(pynvml: Any, *names: str) -> Any:
    try:
        return text(call(pynvml, names))
    except (FieldError, Unavailable):
        return None


def _cuda_version(number: int | None) -> str | None:
    """Return NVML's 13000 as "13.0"."""
    return "%d.%d" % (number // 1000, number % 1000 // 10) if number else None


def _topology(pynvml: Any, opened: list[tuple[Any, schema.Gpu]]) -> list[schema.Link]:
    """Return a schema.Link for every pair of GPUs whose connection NVML knows."""
    links = []
    for place, (handle, gpu) in enumerate(opened):
        for other_handle, other in opened[place + 1 :]:
            try:
                path = _PATHS.get(call(pynvml, ("nvmlDeviceGetTopologyCommonAncestor",), handle, other_handle))
            except (FieldError, Unavailable):
                path = None
            nvlinks = device.nvlinks_between(pynvml, handle, other.pci_bus_id)
            peer_access = device.peer_access(pynvml, handle, other_handle)
            if path is not None or nvlinks is not None:
                uuids = [end.uuid for end in (gpu, other) if end.uuid]
                links.append(schema.Link(uuids=uuids, path=path, nvlinks=nvlinks, peer_access=peer_access))
    return links


def _without(state: str, reason: str) -> schema.Inventory:
    """Return the inventory of a host whose GPUs cannot be read."""
    return schema.Inventory(
        state=state,
        reason=reason,
        remedy=health.REMEDIES[state],
        unlisted=sysfs.pci_gpus(),
        no_gpu_present=sysfs.no_gpu_present(),
        host_memory=host_memory.read(),
    )


def _init_failure(code: int, message: str) -> schema.Inventory:
    """Return the inventory of a host whose NVML cannot be initialised, with what the kernel says about it."""
    state = _INIT_STATES.get(code, schema.NVML_ERROR)
    loaded = sysfs.loaded_driver_version()
    if state == schema.NO_LIBRARY:
        reason = "The library libnvidia-ml.so.1 cannot be loaded%s" % _seen_on_the_bus()
        if sysfs.is_tegra():
            reason = "this is a Jetson, whose system has no libnvidia-ml.so.1: its GPU cannot be read through NVML"
    elif state == schema.DRIVER_NOT_LOADED:
        reason = "the NVIDIA kernel module is not loaded%s" % _seen_on_the_bus()
    elif state == schema.VERSION_MISMATCH:
        reason = "the driver's library and the loaded kernel module%s have different versions" % (
            " %s" % loaded if loaded else ""
        )
    elif state == schema.NO_PERMISSION:
        reason = "this user may not open the NVIDIA devices (NVML: %s)" % message
    elif state == schema.NO_DEVICES:
        reason = "the NVIDIA driver finds no GPU%s" % _seen_on_the_bus()
    else:
        reason = "NVML cannot be initialised: %s (error %d)" % (message, code)
    inventory = _without(state, reason[0].upper() + reason[1:])
    inventory.driver_version = loaded  # of the kernel, where the library cannot say it
    return inventory


def _seen_on_the_bus() -> str:
    found = sysfs.pci_gpus()
    return (
        ", but %s on the PCI bus: %s" % ("GPUs are" if len(found) > 1 else "a GPU is", ", ".join(found))
        if found
        else ""
    )
