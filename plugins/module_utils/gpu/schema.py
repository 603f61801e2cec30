# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Shape of the facts about a host's GPUs. It is independent of the source, which is NVML today.

Bytes are integers named `*_bytes`. Unknown is None, never 0. `as_facts` of an Inventory is the fact `gpu_inventory`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

OK = "ok"
NO_BINDING = "no_binding"
NO_LIBRARY = "no_library"
DRIVER_NOT_LOADED = "driver_not_loaded"
VERSION_MISMATCH = "version_mismatch"
NO_PERMISSION = "no_permission"
NO_DEVICES = "no_devices"
TIMEOUT = "timeout"
NVML_ERROR = "nvml_error"

DEDICATED = "dedicated"
UNIFIED = "unified"

DEGRADED = "degraded"
UNUSABLE = "unusable"


@dataclasses.dataclass
class Memory:
    """Memory of a GPU or MIG device.

    `reserved_bytes` is the driver's own (only from NVML's memory v2); placement counts on `free_bytes`.
    """

    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    reserved_bytes: int | None = None
    kind: str = DEDICATED


@dataclasses.dataclass
class Process:
    """A process that holds memory of a GPU. `type` is compute or graphics, `unit` the unit of its control group."""

    pid: int
    name: str | None = None
    used_bytes: int | None = None
    unit: str | None = None
    type: str = "compute"


@dataclasses.dataclass
class MigDevice:
    """One MIG device. It is placed on like a GPU, because CUDA gives a process one MIG device at most."""

    uuid: str | None = None
    name: str | None = None
    gpu_instance_id: int | None = None
    compute_instance_id: int | None = None
    memory: Memory = dataclasses.field(default_factory=Memory)
    processes: list[Process] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Mig:
    """MIG mode: enabled or disabled, None where the GPU has no MIG. `pending_mode` is the mode after the next reset."""

    mode: str | None = None
    pending_mode: str | None = None
    devices: list[MigDevice] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Pcie:
    """PCI Express link. The current generation drops to 1 while a GPU idles."""

    generation: int | None = None
    max_generation: int | None = None
    width: int | None = None
    max_width: int | None = None


@dataclasses.dataclass
class NvLink:
    """NVLink connections of a GPU: those that it has, and those that are up. None for a GPU without NVLink."""

    links: int | None = None
    active: int | None = None


@dataclasses.dataclass
class Utilization:
    """Percent of the last sample period (1/6 to 1 second) in which the GPU, or its memory, was busy."""

    gpu_percent: int | None = None
    memory_percent: int | None = None


@dataclasses.dataclass
class Ecc:
    """Error correction: whether it is on now and after the next reset, and its uncorrected errors.

    `uncorrected_volatile` counts since the driver was loaded, `uncorrected_aggregate` over the life of the GPU.
    """

    enabled: bool | None = None
    pending: bool | None = None
    uncorrected_volatile: int | None = None
    uncorrected_aggregate: int | None = None
    remap_pending: bool | None = None
    remap_failure: bool | None = None
    retired_pages_pending: bool | None = None


@dataclasses.dataclass
class Health:
    """Whether a GPU should be used: ok, degraded (it works, with these problems) or unusable."""

    state: str = OK
    reasons: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Gpu:
    """One GPU. `index` is NVML's and may change at a reboot; `uuid` and `pci_bus_id` (sysfs form) are identities."""

    index: int
    uuid: str | None = None
    minor_number: int | None = None
    pci_bus_id: str | None = None
    vendor: str = "nvidia"
    name: str | None = None
    brand: str | None = None
    architecture: str | None = None
    compute_capability: str | None = None
    memory: Memory = dataclasses.field(default_factory=Memory)
    compute_mode: str | None = None
    mig: Mig = dataclasses.field(default_factory=Mig)
    persistence_mode: bool | None = None
    virtualization_mode: str | None = None
    display_active: bool | None = None
    numa_node: int | None = None
    pcie: Pcie = dataclasses.field(default_factory=Pcie)
    nvlink: NvLink = dataclasses.field(default_factory=NvLink)
    utilization: Utilization = dataclasses.field(default_factory=Utilization)
    ecc: Ecc = dataclasses.field(default_factory=Ecc)
    recovery_action: str | None = None
    throttle_reasons: list[str] = dataclasses.field(default_factory=list)
    temperature_celsius: int | None = None
    slowdown_temperature_celsius: int | None = None
    power_limit_milliwatts: int | None = None
    default_power_limit_milliwatts: int | None = None
    vgpu_licensed: bool | None = None
    memory_bus_width_bits: int | None = None
    max_memory_clock_mhz: int | None = None
    processes: list[Process] = dataclasses.field(default_factory=list)
    health: Health = dataclasses.field(default_factory=Health)
    unsupported: list[str] = dataclasses.field(default_factory=list)
    errors: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Link:
    """How two GPUs are connected.

    `path` is internal, PIX, PXB, PHB, NODE or SYS (as in nvidia-smi topo), `nvlinks` the number of active NVLinks, and
    `peer_access` whether one can read the memory of the other without the host: "ok", or why not.
    """

    uuids: list[str]
    path: str | None = None
    nvlinks: int | None = None
    peer_access: str | None = None


@dataclasses.dataclass
class UnitMemory:
    """Memory of the host that the processes of a systemd unit hold, without what is mapped from files.

    `engines` is how many of these processes serve a model.
    """

    unit: str
    used_bytes: int
    engines: int = 0


@dataclasses.dataclass
class HostMemory:
    """The host's own memory. `available_bytes` is the kernel's estimate of what new processes can take without swap.

    `units` are the units that hold most, largest first; one with little and without an engine is not listed.
    """

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    units: list[UnitMemory] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Inventory:
    """The GPUs of a host. `state` other than ok comes with a `reason` (what was seen) and a `remedy` (what to do).

    `unlisted` are the PCI addresses of NVIDIA GPUs that the driver does not list (fallen off, bound elsewhere).
    `no_gpu_present` tells whether the kernel says surely that the host has no NVIDIA GPU: without it, GPUs that cannot
    be read may be there. `wsl` tells whether the system is WSL, whose GPUs are those of Windows.
    """

    state: str = OK
    reason: str | None = None
    remedy: str | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    nvml_version: str | None = None
    gpus: list[Gpu] = dataclasses.field(default_factory=list)
    topology: list[Link] = dataclasses.field(default_factory=list)
    unlisted: list[str] = dataclasses.field(default_factory=list)
    no_gpu_present: bool = False
    wsl: bool = False
    host_memory: HostMemory = dataclasses.field(default_factory=HostMemory)


def as_facts(inventory: Inventory) -> dict[str, Any]:
    """Return an Inventory as plain dictionaries and lists: the fact `gpu_inventory`."""
    return dataclasses.asdict(inventory)
