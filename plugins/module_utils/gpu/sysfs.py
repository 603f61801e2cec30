# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the kernel says about GPUs: the PCI bus, NUMA nodes, the driver and the host's memory.

Every function answers None or [] for what does not exist.
"""

from __future__ import annotations

import os
import re

PCI = "/sys/bus/pci/devices"
_NVIDIA, _AMD = "0x10de", "0x1002"
_DISPLAY = "0x03"  # class of display controllers: VGA, 3D and others; not the audio and USB functions of a card
_WSL = "/dev/dxg"  # GPUs of Windows, which the PCI bus of its Linux does not show as NVIDIA's


def _read(path: str) -> str | None:
    try:
        with open(path, "r", errors="replace") as handle:
            return handle.read()
    except OSError:
        return None


def _gpus_of(vendor: str, root: str | None) -> list[str] | None:
    """Return the PCI addresses of a vendor's display controllers, None where the bus cannot be read."""
    root = root or PCI
    try:
        addresses = sorted(os.listdir(root))
    except OSError:
        return None
    return [
        address
        for address in addresses
        if (_read(os.path.join(root, address, "vendor")) or "").strip() == vendor
        and (_read(os.path.join(root, address, "class")) or "").startswith(_DISPLAY)
    ]


def pci_gpus(root: str | None = None) -> list[str]:
    """Return the PCI addresses (sysfs form) of all NVIDIA GPUs on the bus, whatever driver they have."""
    return _gpus_of(_NVIDIA, root) or []


def amd_gpus(root: str | None = None) -> list[str]:
    """Return the PCI addresses (sysfs form) of all GPUs of AMD, those inside of processors among them."""
    return _gpus_of(_AMD, root) or []


def no_gpu_present(root: str | None = None) -> bool:
    """Return whether the kernel says surely that this host has no NVIDIA GPU, whatever the driver says.

    The PCI bus can be read and has none, and the host is not of a kind whose GPU is not on that bus (Jetson, WSL).
    """
    return _gpus_of(_NVIDIA, root) == [] and not is_tegra() and not is_wsl()


def sysfs_bus_id(text: str) -> str | None:
    """Return NVML's PCI address ("00000000:18:00.0") in the form of sysfs and of Ollama's log ("0000:18:00.0")."""
    match = re.match(r"^([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-9a-fA-F])$", text.strip())
    if not match:
        return None
    domain, bus, device, function = match.groups()
    return "%04x:%s:%s.%s" % (int(domain, 16), bus.lower(), device.lower(), function.lower())


def numa_node(bus_id: str | None, root: str | None = None) -> int | None:
    """Return the NUMA node of a PCI device; None where the kernel does not know (-1)."""
    text = _read(os.path.join(root or PCI, bus_id or "", "numa_node"))
    if text is None or not re.match(r"^\d+$", text.strip()):
        return None
    return int(text)


def bound_driver(bus_id: str, root: str | None = None) -> str | None:
    """Return the kernel driver that a PCI device is bound to ("nvidia", "vfio-pci"), None where it has none."""
    try:
        return os.path.basename(os.readlink(os.path.join(root or PCI, bus_id, "driver")))
    except OSError:
        return None


def loaded_driver_version(path: str = "/proc/driver/nvidia/version") -> str | None:
    """Return the version of the loaded NVIDIA kernel module, None without one."""
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", _read(path) or "")
    return match.group(1) if match else None


def is_tegra() -> bool:
    """Return whether this is a Jetson; its older systems have a GPU but no libnvidia-ml."""
    return os.path.exists("/etc/nv_tegra_release") or os.path.exists("/sys/devices/platform/gpu.0")


def is_wsl() -> bool:
    """Return whether this is WSL, where Windows shares out the memory of the GPUs."""
    return os.path.exists(_WSL)


def meminfo(path: str = "/proc/meminfo") -> dict[str, int]:
    """Return what the kernel says of the host's memory, {name: bytes}; empty where it cannot be read."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", _read(path) or "", re.MULTILINE)
    return {name: int(size) * 1024 for name, size in found}


def host_memory(path: str = "/proc/meminfo") -> tuple[int | None, int | None]:
    """Return (total, available) bytes of the host's memory, None for what cannot be read."""
    values = meminfo(path)
    return values.get("MemTotal"), values.get("MemAvailable")
