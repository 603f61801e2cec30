# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Device nodes that CUDA opens, and why a service cannot open one.

CUDA needs the driver's control node, that of its unified memory, and that of each GPU. Without one of the first two it
finds no GPU at all, and without the last it does not find this GPU.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Dict, Iterator, Mapping, Optional, Sequence, Tuple

from ..common import paths

CONTROL, UNIFIED_MEMORY = "/dev/nvidiactl", "/dev/nvidia-uvm"
_OPEN_POLICY = ("", "auto")


def closed_nodes(properties: Mapping[str, str], gpus: Sequence[Optional[int]], root: str = "/") -> Dict[str, str]:
    """Return {node: why the service cannot open it}; {} where it can open all, or where that is not known.

    Args:
        properties: of the service (systemd.show): MainPID, DevicePolicy and DeviceAllow.
        gpus: minor numbers of its GPUs; None where one is not known.
        root: / except in tests.
    """
    allowed = properties.get("DeviceAllow", "").split("\n")
    is_open = properties.get("DevicePolicy", "") in _OPEN_POLICY and not any(allowed)
    if not os.path.exists(paths.below(root, CONTROL)):
        other = "the driver of this host has nodes of other names, and the unit allows those of /dev/nvidia only"
        return {} if is_open else {CONTROL: other}
    found = {}
    for node in [CONTROL, UNIFIED_MEMORY] + ["/dev/nvidia%d" % number for number in gpus if number is not None]:
        why = _why_closed(node, properties.get("MainPID", "0"), root)
        if why is None and not is_open and not _is_allowed(node, allowed, root):
            why = "the device policy of the unit does not allow it"
        if why is not None:
            found[node] = why
    return found


def _why_closed(node: str, pid: str, root: str) -> Optional[str]:
    if not os.path.exists(paths.below(root, node)):
        return "it is not there"
    seen = paths.below(root, "/proc/%s/root" % pid)
    if os.path.isdir(seen + "/dev") and not os.path.exists(seen + node):
        return "the unit hides it"
    return None


def _is_allowed(node: str, allowed: Sequence[str], root: str) -> bool:
    """Return whether one of the entries of DeviceAllow, such as "char-nvidia* rw" or "/dev/nvidiactl rw", is of a node.
    (systemd.resource-control(5); a name is one of /proc/devices.)"""
    device = os.stat(paths.below(root, node)).st_rdev
    names = [name for number, name in _drivers(root) if number == os.major(device)]
    for entry in allowed:
        what, _space, rights = entry.partition(" ")
        if "r" not in rights or "w" not in rights:
            continue
        if what.startswith("char-") and any(fnmatch.fnmatchcase(name, what[len("char-") :]) for name in names):
            return True
        if what.startswith("/dev/") and _device(paths.below(root, what)) == device:
            return True
    return False


def _device(path: str) -> Optional[int]:
    try:
        return os.stat(path).st_rdev
    except OSError:
        return None


def _drivers(root: str) -> Iterator[Tuple[int, str]]:
    """(major number, name) of the drivers of character devices."""
    try:
        with open(paths.below(root, "/proc/devices"), encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return
    for line in text.partition("Block devices:")[0].splitlines():
        number, _space, name = line.strip().partition(" ")
        if number.isdigit():
            yield int(number), name
