# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read one GPU through NVML, field by field. `pynvml` is initialised by the caller."""

from __future__ import annotations

from typing import Any

from . import health, mig, schema, sysfs
from .fields import FieldError, Fields, Unavailable, call, text

_BRANDS = {
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    4: "GRID",
    5: "GeForce",
    6: "Titan",
    12: "Quadro RTX",
    13: "NVIDIA RTX",
    14: "NVIDIA",
    15: "GeForce RTX",
    16: "Titan RTX",
}
_ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
_COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
_VIRTUALIZATION = {0: "none", 1: "passthrough", 2: "vgpu_guest", 3: "vgpu_host", 4: "vsga_host"}
_RECOVERY = {
    0: "none",
    1: "gpu_reset",
    2: "node_reboot",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex_domain",
    6: "bus_reset",
    7: "system_reboot",
}
_RECOVERY_FIELD = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
_NVLINK_COUNT_FIELD = 91  # NVML_FI_DEV_NVLINK_LINK_COUNT
#: nvmlClocksEventReason* bits. Idle (1) and applications clocks (2) are normal.
THROTTLE_FUNCTIONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
_THROTTLE = {
    0x4: "software_power_cap",
    0x8: "hardware_slowdown",
    0x20: "software_thermal_slowdown",
    0x40: "hardware_thermal_slowdown",
    0x80: "hardware_power_brake_slowdown",
}
#: nvmlGpuP2PStatus_t
_PEER_ACCESS = {
    0: "ok",
    1: "chipset_not_supported",
    2: "gpu_not_supported",
    3: "topology_not_supported",
    4: "disabled_by_registry_key",
    5: "not_supported",
}
_READ = 0  # NVML_P2P_CAPS_INDEX_READ, which nvidia-ml-py has as a tuple
_CLOCK_MEMORY = 2  # NVML_CLOCK_MEM
_TEMPERATURE_GPU = 0
_THRESHOLD_SLOWDOWN = 1
_UNCORRECTED = 1
_VOLATILE, _AGGREGATE = 0, 1
#: GPUs that share the host's memory: Jetson Nano, TX2, Xavier, Orin, Thor, and GB10.
_INTEGRATED = ("5.3", "6.2", "7.2", "8.7", "10.1", "11.0", "12.1")


def read(pynvml: Any, index: int) -> tuple[Any, schema.Gpu]:
    """Return (handle, facts) of the GPU at NVML's `index`; the handle is None where the driver cannot open it."""
    gpu = schema.Gpu(index=index)
    fields = Fields(pynvml)
    handle = fields.read("handle", "nvmlDeviceGetHandleByIndex", index, convert=lambda value: value)
    if handle is not None:
        _identity(fields, handle, gpu)
        gpu.memory = _memory(fields, handle, gpu)
        _modes(fields, handle, gpu)
        _condition(fields, handle, gpu)
        gpu.mig, gpu.processes = mig.read(fields, handle, gpu.memory.total_bytes)
    gpu.unsupported, gpu.errors = sorted(fields.unsupported), fields.errors
    gpu.health = health.assess(gpu)
    return handle, gpu


def _identity(fields: Fields, handle: Any, gpu: schema.Gpu) -> None:
    read_field = fields.read
    gpu.uuid = read_field("uuid", "nvmlDeviceGetUUID", handle)
    gpu.name = read_field("name", "nvmlDeviceGetName", handle)
    gpu.minor_number = read_field("minor_number", "nvmlDeviceGetMinorNumber", handle)
    gpu.pci_bus_id = read_field(
        "pci_bus_id",
        ("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo"),
        handle,
        convert=lambda info: sysfs.sysfs_bus_id(text(info.busId)),
    )
    gpu.brand = read_field("brand", "nvmlDeviceGetBrand", handle, convert=_BRANDS.get)
    # A GPU newer than the binding has a number without a name: the number is kept, as text.
    gpu.architecture = read_field(
        "architecture",
        "nvmlDeviceGetArchitecture",
        handle,
        convert=lambda value: _ARCHITECTURES.get(value, "architecture %d" % value),
    )
    gpu.compute_capability = read_field(
        "compute_capability", "nvmlDeviceGetCudaComputeCapability", handle, convert=lambda pair: "%d.%d" % tuple(pair)
    )
    gpu.numa_node = sysfs.numa_node(gpu.pci_bus_id)
    if gpu.numa_node is None:
        node = read_field("numa_node", "nvmlDeviceGetNumaNodeId", handle)
        gpu.numa_node = node if node is not None and 0 <= node < 0xFFFF else None


def _memory(fields: Fields, handle: Any, gpu: schema.Gpu) -> schema.Memory:
    """Return the memory by NVML's version 2, then 1; for a GPU without memory of its own the host's, as Ollama does."""
    pynvml = fields.pynvml
    memory = None
    version = getattr(pynvml, "nvmlMemory_v2", None)
    try:
        if version is not None:
            memory = call(pynvml, ("nvmlDeviceGetMemoryInfo",), handle, version)
    except (FieldError, Unavailable):
        memory = None  # an older driver: version 1 below says why, if it fails as well
    reserved = memory.reserved if memory is not None else None
    if memory is None:
        memory = fields.read("memory", "nvmlDeviceGetMemoryInfo", handle, convert=lambda value: value)
    unsupported = memory is None and "memory" not in fields.errors
    if unsupported or (memory is not None and (memory.total == 0 or _is_host_memory(memory.total, gpu))):
        total, available = sysfs.host_memory()
        used = total - available if total is not None and available is not None else None
        return schema.Memory(total_bytes=total, free_bytes=available, used_bytes=used, kind=schema.UNIFIED)
    if memory is None:
        return schema.Memory()
    return schema.Memory(
        total_bytes=memory.total, free_bytes=memory.free, used_bytes=memory.used, reserved_bytes=reserved
    )


def _is_host_memory(total: int, gpu: schema.Gpu) -> bool:
    """Return whether the driver answered with the host's memory, as some do for an integrated GPU."""
    host_total = sysfs.host_memory()[0]
    return (
        gpu.compute_capability in _INTEGRATED and host_total is not None and abs(total - host_total) <= host_total // 20
    )


def _modes(fields: Fields, handle: Any, gpu: schema.Gpu) -> None:
    gpu.compute_mode = fields.read("compute_mode", "nvmlDeviceGetComputeMode", handle, convert=_COMPUTE_MODES.get)
    gpu.persistence_mode = fields.read("persistence_mode", "nvmlDeviceGetPersistenceMode", handle, convert=bool)
    gpu.virtualization_mode = fields.read(
        "virtualization_mode",
        "nvmlDeviceGetVirtualizationMode",
        handle,
        convert=lambda value: _VIRTUALIZATION.get(int(value)),
    )
    if gpu.virtualization_mode == "vgpu_guest":
        gpu.vgpu_licensed = fields.read(
            "vgpu_licensed", "nvmlDeviceGetGridLicensableFeatures", handle, convert=_is_licensed
        )
    gpu.display_active = fields.read("display_active", "nvmlDeviceGetDisplayActive", handle, convert=bool)
    gpu.pcie = schema.Pcie(
        generation=fields.read("pcie.generation", "nvmlDeviceGetCurrPcieLinkGeneration", handle),
        max_generation=fields.read("pcie.max_generation", "nvmlDeviceGetMaxPcieLinkGeneration", handle),
        width=fields.read("pcie.width", "nvmlDeviceGetCurrPcieLinkWidth", handle),
        max_width=fields.read("pcie.max_width", "nvmlDeviceGetMaxPcieLinkWidth", handle),
    )
    gpu.nvlink = _nvlink(fields.pynvml, handle)
    gpu.memory_bus_width_bits = fields.read("memory_bus_width_bits", "nvmlDeviceGetMemoryBusWidth", handle)
    gpu.max_memory_clock_mhz = fields.read("max_memory_clock_mhz", "nvmlDeviceGetMaxClockInfo", handle, _CLOCK_MEMORY)


def _condition(fields: Fields, handle: Any, gpu: schema.Gpu) -> None:
    rates = fields.read("utilization", "nvmlDeviceGetUtilizationRates", handle, convert=lambda value: value)
    if rates is not None:
        gpu.utilization = schema.Utilization(gpu_percent=rates.gpu, memory_percent=rates.memory)
    gpu.temperature_celsius = fields.read("temperature_celsius", "nvmlDeviceGetTemperature", handle, _TEMPERATURE_GPU)
    gpu.slowdown_temperature_celsius = fields.read(
        "slowdown_temperature_celsius", "nvmlDeviceGetTemperatureThreshold", handle, _THRESHOLD_SLOWDOWN
    )
    gpu.power_limit_milliwatts = fields.read("power_limit_milliwatts", "nvmlDeviceGetEnforcedPowerLimit", handle)
    gpu.default_power_limit_milliwatts = fields.read(
        "default_power_limit_milliwatts", "nvmlDeviceGetPowerManagementDefaultLimit", handle
    )
    gpu.throttle_reasons = throttle_reasons(fields.read("throttle_reasons", THROTTLE_FUNCTIONS, handle))
    enabled, pending = fields.read("ecc", "nvmlDeviceGetEccMode", handle, convert=tuple) or (None, None)
    gpu.ecc = schema.Ecc(
        enabled=None if enabled is None else bool(enabled), pending=None if pending is None else bool(pending)
    )
    if gpu.ecc.enabled:
        gpu.ecc.uncorrected_volatile = fields.read(
            "ecc.uncorrected_volatile", "nvmlDeviceGetTotalEccErrors", handle, _UNCORRECTED, _VOLATILE
        )
        gpu.ecc.uncorrected_aggregate = fields.read(
            "ecc.uncorrected_aggregate", "nvmlDeviceGetTotalEccErrors", handle, _UNCORRECTED, _AGGREGATE
        )
    remapped = fields.read("ecc.remap", "nvmlDeviceGetRemappedRows", handle, convert=tuple)
    if remapped is not None:
        gpu.ecc.remap_pending, gpu.ecc.remap_failure = bool(remapped[2]), bool(remapped[3])
    else:
        gpu.ecc.retired_pages_pending = fields.read(
            "ecc.retired_pages_pending", "nvmlDeviceGetRetiredPagesPendingStatus", handle, convert=bool
        )
    action = _field_value(fields.pynvml, handle, _RECOVERY_FIELD)
    gpu.recovery_action = None if action is None else _RECOVERY.get(action)
    if gpu.recovery_action is None:
        fields.unsupported.append("recovery_action")


def throttle_reasons(mask: int | None) -> list[str]:
    """Return the names of the bits of NVML's clocks event reasons that slow a GPU down."""
    return [name for bit, name in sorted(_THROTTLE.items()) if mask and mask & bit]


def _is_licensed(features: Any) -> bool | None:
    """Return whether a vGPU has a licence for one of its features; None where it needs none."""
    if not features.isGridLicenseSupported:
        return None
    listed = features.gridLicensableFeatures[: features.licensableFeaturesCount]
    return any(feature.featureState for feature in listed)


def _nvlink(pynvml: Any, handle: Any) -> schema.NvLink:
    count = _field_value(pynvml, handle, _NVLINK_COUNT_FIELD)
    if not count:
        return schema.NvLink()
    active = 0
    for link in range(count):
        try:
            active += bool(call(pynvml, ("nvmlDeviceGetNvLinkState",), handle, link))
        except (FieldError, Unavailable):
            continue
    return schema.NvLink(links=count, active=active)


def peer_access(pynvml: Any, handle: Any, other: Any) -> str | None:
    """Return whether a GPU can read the memory of another one without the host ("ok", or why not); None if unknown."""
    try:
        return _PEER_ACCESS.get(call(pynvml, ("nvmlDeviceGetP2PStatus",), handle, other, _READ))
    except (FieldError, Unavailable):
        return None


def _field_value(pynvml: Any, handle: Any, field: int) -> int | None:
    """Return one value of nvmlDeviceGetFieldValues, None where it does not exist.

    The call itself succeeds then: each field has a return code of its own.
    """
    try:
        value = call(pynvml, ("nvmlDeviceGetFieldValues",), handle, [field])[0]
    except (FieldError, Unavailable):
        return None
    if value.nvmlReturn != 0:
        return None
    # NVML_VALUE_TYPE_*: the union must be read by the type that NVML names.
    members = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
    return int(getattr(value.value, members.get(value.valueType, "uiVal")))


def nvlinks_between(pynvml: Any, handle: Any, bus_id: str | None) -> int | None:
    """Return the number of active NVLinks from a GPU to the one at PCI address `bus_id`, None without any NVLink."""
    count = _field_value(pynvml, handle, _NVLINK_COUNT_FIELD)
    if not count:
        return None
    active = 0
    for link in range(count):
        try:
            if call(pynvml, ("nvmlDeviceGetNvLinkState",), handle, link):
                remote = call(
                    pynvml, ("nvmlDeviceGetNvLinkRemotePciInfo_v2", "nvmlDeviceGetNvLinkRemotePciInfo"), handle, link
                )
                active += sysfs.sysfs_bus_id(text(remote.busId)) == bus_id
        except (FieldError, Unavailable):
            continue
    return active
