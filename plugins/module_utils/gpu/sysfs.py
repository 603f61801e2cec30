# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the host itself says about GPUs: the PCI bus, NUMA nodes, the driver. Every function answers None or [] for what is not there."""

from __future__ import annotations

import os
import re

_PCI = "/sys/bus/pci/devices"
_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")  # VGA controller, 3D controller; not the audio and USB functions of a card


def _read(path):
    try:
        with open(path, "r", errors="replace") as handle:
            return handle.read()
    except OSError:
        return None


def pci_gpus(root=_PCI):
    """Return the PCI addresses (sysfs form) of all NVIDIA GPUs on the bus, whoever drives them."""
    try:
        addresses = sorted(os.listdir(root))
    except OSError:
        return []
    return [
        address
        for address in addresses
        if (_read(os.path.join(root, address, "vendor")) or "").strip() == _NVIDIA
        and (_read(os.path.join(root, address, "class")) or "")[:6] in _DISPLAY_CLASSES
    ]


def sysfs_bus_id(text):
    """Turn NVML's PCI address ("00000000:18:00.0") into the form of sysfs and of Ollama's log ("0000:18:00.0"); the domain is kept."""
    match = re.match(r"^([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-9a-fA-F])$", text.strip())
    if not match:
        return None
    domain, bus, device, function = match.groups()
    return "%04x:%s:%s.%s" % (int(domain, 16), bus.lower(), device.lower(), function.lower())


def numa_node(bus_id, root=_PCI):
    """Return the NUMA node of a PCI device; None where the kernel does not know (-1)."""
    text = _read(os.path.join(root, bus_id or "", "numa_node"))
    if text is None or not re.match(r"^\d+$", text.strip()):
        return None
    return int(text)


def loaded_driver_version(path="/proc/driver/nvidia/version"):
    """Return the version of the NVIDIA kernel module that is loaded, None without one."""
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", _read(path) or "")
    return match.group(1) if match else None


def is_tegra():
    """True on a Jetson, whose older systems have a GPU but no libnvidia-ml."""
    return os.path.exists("/etc/nv_tegra_release") or os.path.exists("/sys/devices/platform/gpu.0")


def host_memory(path="/proc/meminfo"):
    """Return (total, available) bytes of the host's memory, None for what cannot be read."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read(path) or "", re.MULTILINE))
    return tuple(int(values[key]) * 1024 if key in values else None for key in ("MemTotal", "MemAvailable"))
