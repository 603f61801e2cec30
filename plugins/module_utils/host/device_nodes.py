# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Device nodes that CUDA opens, and why a service cannot open one.

CUDA needs the driver's control node, that of its unified memory, and that of each GPU. Without one of the first two it
finds no GPU at all, and without the last it does not find this GPU. A process in a MIG device needs two more: those of
the GPU instance and of the compute instance.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..common import paths
from ..common.gpu_devices import mig_devices

CONTROL, UNIFIED_MEMORY = "/dev/nvidiactl", "/dev/nvidia-uvm"
_OPEN_POLICY = ("", "auto")
#: Lines such as "gpu0/gi1/ci0/access 13", by the minor number of the GPU (NVIDIA MIG User Guide, "Device Nodes and
#: Capabilities"; read in the same way by nvidia-container-toolkit, internal/nvcaps).
_MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"
_MIG_NODE = "/dev/nvidia-caps/nvidia-cap%d"


def own_nodes(gpus: Sequence[Mapping[str, Any]], uuids: Collection[str], root: str = "/") -> List[str]:
    """Return the nodes of GPUs and MIG devices, without those that are not known.

    Args:
        gpus: of the fact gpu_inventory.
        uuids: of the GPUs and MIG devices.
        root: / except in tests.
    """
    found = []
    minors = _mig_minors(root)
    for gpu in gpus:
        number = gpu.get("minor_number")
        parts = [one for one in mig_devices(gpu) if one.get("uuid") in uuids]
        if number is None or not (parts or gpu["uuid"] in uuids):
            continue
        found.append("/dev/nvidia%d" % number)
        for part in parts:
            instance = "gpu%s/gi%s" % (number, part.get("gpu_instance_id"))
            wanted = (instance, "%s/ci%s" % (instance, part.get("compute_instance_id")))
            found += [_MIG_NODE % minors[one + "/access"] for one in wanted if one + "/access" in minors]
    return list(dict.fromkeys(found))


def _mig_minors(root: str) -> Dict[str, int]:
    """{capability of a MIG device: minor number of its node}; {} without MIG."""
    lines = [line.split() for line in _text(root, _MIG_MINORS).splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


def closed_nodes(properties: Mapping[str, str], nodes: Sequence[str], root: str = "/") -> Dict[str, str]:
    """Return {node: why the service cannot open it}; {} where it can open all, or where that is not known.

    Args:
        properties: of the service (systemd.show): MainPID, DevicePolicy and DeviceAllow.
        nodes: of its GPUs (`own_nodes`), beside those that each service needs.
        root: / except in tests.
    """
    allowed = properties.get("DeviceAllow", "").split("\n")
    is_open = properties.get("DevicePolicy", "") in _OPEN_POLICY and not any(allowed)
    if not os.path.exists(paths.below(root, CONTROL)):
        other = "the driver of this host has nodes of other names, and the unit allows listed ones only"
        return {} if is_open else {CONTROL: other}
    found = {}
    for node in [CONTROL, UNIFIED_MEMORY, *nodes]:
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
    text = _text(root, "/proc/devices")
    for line in text.partition("Block devices:")[0].splitlines():
        number, _space, name = line.strip().partition(" ")
        if number.isdigit():
            yield int(number), name


def _text(root: str, path: str) -> str:
    try:
        with open(paths.below(root, path), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
