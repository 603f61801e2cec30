# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lines of a systemd unit that keep the services of the collection from what they do not need. Pure.

/dev/shm stays writable; what a service leaves there goes with the last service of its user. /proc stays whole beside
its processes, because CUDA reads /proc/driver/nvidia and /proc/devices. Memory stays executable, because the driver
compiles kernels there.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Optional, Sequence

#: Levels of protection of an instance, the strongest first.
STRICT, MODERATE, OFF = LEVELS = ("strict", "moderate", "off")

#: What no driver minds.
HARDENING = """\
NoNewPrivileges=true
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateTmp=true
PrivateMounts=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
LockPersonality=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
RemoveIPC=true
"""
#: System calls that a service needs, and none of the administrator's. @resources, which @system-service has, stays:
#: llama.cpp binds its threads to processors (sched_setaffinity) and CUDA memory to NUMA nodes (mbind). What is refused
#: fails, and ends nothing.
SYSTEM_CALLS = """\
ProtectClock=true
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
"""
#: All system calls but those of the administrator.
OTHER_SYSTEM_CALLS = """\
SystemCallFilter=~@privileged @mount @debug @obsolete @cpu-emulation
"""
#: Of all devices those of the NVIDIA driver, by the names that it has in /proc/devices (nvidia-frontend or nvidia and
#: nvidiactl, nvidia-uvm, nvidia-caps with MIG). Names are looked up when a service starts: the driver has to be loaded
#: before (paths.GPUS_UNIT). WSL (/dev/dxg) and Jetson have others; a line for a node that is not there is a warning at
#: each start.
GPU_DEVICES = """\
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
"""
#: A device node, or the drivers of a name in /proc/devices with an end that is left open.
_DEVICE = re.compile(r"(/dev(/[A-Za-z0-9_-][A-Za-z0-9._:-]*)+|char-[A-Za-z0-9._-]+\*?)\Z")
#: Directories of device nodes, for which systemd has the name of the driver.
_DEVICE_DIRECTORIES = {"/dev/dri": "char-drm"}
#: What ProtectHome= hides. Each may be a link, as /home to /var/home on an ostree: what it leads to is hidden.
HOMES = ("/home", "/root", "/run/user")
#: Letters that have no meaning of their own in a unit; % begins a specifier.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._@+/%-]+\Z")


def level_of(value: Any) -> Optional[str]:
    """Return the level that a value names, None where it is none. YAML takes off for false."""
    text = str(value).lower()
    text = OFF if text == "false" else text
    return text if text in LEVELS else None


def device_problem(value: str) -> Optional[str]:
    """Return what is wrong with a further device of the instances, as the end of a sentence; None where it is one."""
    if _DEVICE.match(value):
        return None
    remedy = "give the path of a device node, such as /dev/nvidia-modeset, or char- and a driver, such as char-drm"
    return "is no device: " + remedy


def more_devices(devices: Iterable[str]) -> str:
    """Return the lines that allow further devices, beside `GPU_DEVICES`.

    Args:
        devices: without a problem. /dev/dri stands for all nodes in it.
    """
    names = dict.fromkeys(_DEVICE_DIRECTORIES.get(device, device) for device in devices)
    return "".join("DeviceAllow=%s rw\n" % name for name in names)


def homes(place: str, named: str, real_homes: Sequence[str] = ()) -> str:
    """Return the lines that hide the homes of users from a service.

    Below a home, what it may write is there alone, in an empty directory, under the path by which the service opens it.
    systemd looks for the source of BindPaths= on the host, before anything is hidden, and follows links in the target
    among what is mounted by then: a home that is a link leads to the empty directory in its place.

    Args:
        place: what the service may write, without links.
        named: the same as the service has it, where links may lead to `place`.
        real_homes: where `HOMES` lead; () for themselves.
    """

    def is_hidden(path: str) -> bool:
        return any((path + "/").startswith(home + "/") for home in (*HOMES, *real_homes))

    if not is_hidden(place) and not is_hidden(named):
        return "ProtectHome=true\n"
    if not _PLAIN_PATH.match(place) or not _PLAIN_PATH.match(named):
        return "ProtectHome=read-only\n"
    # A link from elsewhere into a home stays as it is, and leads to its target's own path.
    target = named if is_hidden(named) else place
    return "ProtectHome=tmpfs\nBindPaths=%s\n" % (place if target == place else "%s:%s" % (place, target))
