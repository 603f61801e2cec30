# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is known about a host's GPUs, whoever read it (today NVML; the names are not NVIDIA's).

Bytes are integers named `*_bytes`. Unknown is None, never 0. `asdict()` of an Inventory is the fact `gpu_inventory`.
"""

from __future__ import annotations

import dataclasses
import typing

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
    """Memory of a GPU or MIG device. `reserved_bytes` is the driver's own (NVML's memory v2 only); `free_bytes` is what placement uses."""

    total_bytes: typing.Optional[int] = None
    free_bytes: typing.Optional[int] = None
    used_bytes: typing.Optional[int] = None
    reserved_bytes: typing.Optional[int] = None
    kind: str = DEDICATED


@dataclasses.dataclass
class Process:
    """One process that holds memory of a GPU. `type`: compute or graphics; `unit`: the systemd unit of its control group."""

    pid: int
    name: typing.Optional[str] = None
    used_bytes: typing.Optional[int] = None
    unit: typing.Optional[str] = None
    type: str = "compute"


@dataclasses.dataclass
class MigDevice:
    """One MIG device: a placement target of its own, as CUDA gives a process one of them at most."""

    uuid: typing.Optional[str] = None
    name: typing.Optional[str] = None
    gpu_instance_id: typing.Optional[int] = None
    compute_instance_id: typing.Optional[int] = None
    memory: Memory = dataclasses.field(default_factory=Memory)
    processes: typing.List[Process] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Mig:
    """MIG mode: enabled or disabled, None where the GPU has no MIG; `pending_mode` is what the next reset brings."""

    mode: typing.Optional[str] = None
    pending_mode: typing.Optional[str] = None
    devices: typing.List[MigDevice] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Pcie:
    """PCI Express link. The current generation drops to 1 while a GPU idles."""

    generation: typing.Optional[int] = None
    max_generation: typing.Optional[int] = None
    width: typing.Optional[int] = None
    max_width: typing.Optional[int] = None


@dataclasses.dataclass
class Utilization:
    """Percent of the last sample period (1/6 to 1 second) in which the GPU, or its memory, was busy."""

    gpu_percent: typing.Optional[int] = None
    memory_percent: typing.Optional[int] = None


@dataclasses.dataclass
class Ecc:
    """Error correction: mode on or off now and after the next reset; uncorrected errors since the driver was loaded, and in all."""

    enabled: typing.Optional[bool] = None
    pending: typing.Optional[bool] = None
    uncorrected_volatile: typing.Optional[int] = None
    uncorrected_aggregate: typing.Optional[int] = None
    remap_pending: typing.Optional[bool] = None
    remap_failure: typing.Optional[bool] = None
    retired_pages_pending: typing.Optional[bool] = None


@dataclasses.dataclass
class Health:
    """Whether a GPU should be used: ok, degraded (it works, with what is named) or unusable."""

    state: str = OK
    reasons: typing.List[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Gpu:
    """One GPU. `index` is NVML's and may change at a reboot; `uuid` and `pci_bus_id` (sysfs form) are identities."""

    index: int
    uuid: typing.Optional[str] = None
    minor_number: typing.Optional[int] = None
    pci_bus_id: typing.Optional[str] = None
    vendor: str = "nvidia"
    name: typing.Optional[str] = None
    brand: typing.Optional[str] = None
    architecture: typing.Optional[str] = None
    compute_capability: typing.Optional[str] = None
    memory: Memory = dataclasses.field(default_factory=Memory)
    compute_mode: typing.Optional[str] = None
    mig: Mig = dataclasses.field(default_factory=Mig)
    persistence_mode: typing.Optional[bool] = None
    virtualization_mode: typing.Optional[str] = None
    display_active: typing.Optional[bool] = None
    numa_node: typing.Optional[int] = None
    pcie: Pcie = dataclasses.field(default_factory=Pcie)
    utilization: Utilization = dataclasses.field(default_factory=Utilization)
    ecc: Ecc = dataclasses.field(default_factory=Ecc)
    recovery_action: typing.Optional[str] = None
    throttle_reasons: typing.List[str] = dataclasses.field(default_factory=list)
    temperature_celsius: typing.Optional[int] = None
    slowdown_temperature_celsius: typing.Optional[int] = None
    power_limit_milliwatts: typing.Optional[int] = None
    memory_bus_width_bits: typing.Optional[int] = None
    max_memory_clock_mhz: typing.Optional[int] = None
    processes: typing.List[Process] = dataclasses.field(default_factory=list)
    health: Health = dataclasses.field(default_factory=Health)
    unsupported: typing.List[str] = dataclasses.field(default_factory=list)
    errors: typing.Dict[str, typing.Dict[str, typing.Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Link:
    """How two GPUs reach each other: `path` is internal, PIX, PXB, PHB, NODE or SYS (nvidia-smi topo); `nvlinks` the active NVLinks between them."""

    uuids: typing.List[str]
    path: typing.Optional[str] = None
    nvlinks: typing.Optional[int] = None


@dataclasses.dataclass
class Inventory:
    """The GPUs of a host. `state` other than ok comes with a `reason` (what was seen) and a `remedy` (what to do).

    `unlisted` are the PCI addresses of NVIDIA GPUs that the driver does not list (fallen off, bound elsewhere).
    """

    state: str = OK
    reason: typing.Optional[str] = None
    remedy: typing.Optional[str] = None
    driver_version: typing.Optional[str] = None
    cuda_version: typing.Optional[str] = None
    nvml_version: typing.Optional[str] = None
    gpus: typing.List[Gpu] = dataclasses.field(default_factory=list)
    topology: typing.List[Link] = dataclasses.field(default_factory=list)
    unlisted: typing.List[str] = dataclasses.field(default_factory=list)


def as_facts(inventory):
    """Return an Inventory as plain dicts and lists."""
    return dataclasses.asdict(inventory)
