# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the host itself says about GPUs and processes: sysfs and procfs. Every function answers None or [] for what is not there."""

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


def process_name(pid, root="/proc"):
    """Return the short name of a process, None if it is not there (or not in this PID namespace)."""
    text = _read(os.path.join(root, str(pid), "comm"))
    return text.strip() or None if text is not None else None


def unit_of(pid, root="/proc"):
    """Return the systemd unit (service or scope) that a process runs in, by its control group; None where there is none."""
    return unit_of_cgroup(_read(os.path.join(root, str(pid), "cgroup")) or "")


def unit_of_cgroup(text):
    """Return the innermost service or scope named in the text of /proc/PID/cgroup (version 2, or systemd's hierarchy of version 1)."""
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3 or not (fields[1] == "" or "name=systemd" in fields[1].split(",")):
            continue
        for part in reversed(fields[2].split("/")):
            if part.endswith((".service", ".scope")):
                return part
    return None


def process_environment(pid, root="/proc"):
    """Return the environment that a process was started with; None if it is gone or may not be read (needs its user or root)."""
    try:
        with open(os.path.join(root, str(pid), "environ"), "rb") as handle:
            raw = handle.read()
    except OSError:
        return None
    pairs = [item.split(b"=", 1) for item in raw.split(b"\0") if b"=" in item]
    return {key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape") for key, value in pairs}


def process_arguments(pid, root="/proc"):
    """Return the argument list of a process, [] if it is gone."""
    text = _read(os.path.join(root, str(pid), "cmdline"))
    return text.rstrip("\0").split("\0") if text else []


def process_executable(pid, root="/proc"):
    """Return the file that a process runs, None if it is gone or may not be read."""
    try:
        return os.readlink(os.path.join(root, str(pid), "exe"))
    except OSError:
        return None


def unit_processes(unit, root="/proc"):
    """Return the PIDs of all processes in a systemd unit, in ascending order."""
    try:
        pids = sorted(int(name) for name in os.listdir(root) if name.isdigit())
    except OSError:
        return []
    return [pid for pid in pids if unit_of(pid, root) == unit]
