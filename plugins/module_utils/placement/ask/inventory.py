# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The structure of the facts of gpu_facts is checked, as a play may have read them from a file or a cache."""

from __future__ import annotations

from typing import Any

from ..errors import PlacementError

#: Far beyond all machines, MIG devices included. The search tries sets of GPUs.
MOST_GPUS = 64
_REMEDY = "pass ansible_facts.gpu_inventory of gpu_facts, whole"


def check_inventory(gpu_inventory: Any) -> None:
    """Refuse facts that gpu_facts cannot have returned; null means unknown everywhere.

    Raises:
        PlacementError: the first value of the wrong kind.
    """
    _kind(gpu_inventory, dict, "gpu_inventory", False)
    gpus = _list(gpu_inventory, "gpus", "gpu_inventory")
    if len(gpus) > MOST_GPUS:
        raise PlacementError("The gpu_inventory has %d GPUs, and no host has more than %d." % (len(gpus), MOST_GPUS))
    for place, gpu in enumerate(gpus):
        _check_device(gpu, "GPU %s" % (gpu.get("uuid") or place))
        _kind(gpu.get("index"), int, "index of GPU %d" % place)
        for key, kind in (("architecture", str), ("name", str), ("compute_capability", str), ("numa_node", int)):
            _kind(gpu.get(key), kind, "%s of GPU %d" % (key, place))
        _kind(gpu.get("health"), dict, "health of GPU %d" % place)
        _list(gpu.get("health") or {}, "reasons", "health of GPU %d" % place, str)
        _kind(gpu.get("mig"), dict, "mig of GPU %d" % place)
        for device in _list(gpu.get("mig") or {}, "devices", "mig of GPU %d" % place):
            _check_device(device, "MIG device %s" % device.get("uuid"))
    for link in _list(gpu_inventory, "topology", "gpu_inventory"):
        if len(_list(link, "uuids", "a link of topology", str)) != 2:
            raise PlacementError(
                "A link of topology has the uuids %.80r, which are not two; %s." % (link.get("uuids"), _REMEDY)
            )
    _list(gpu_inventory, "unlisted", "gpu_inventory", str)
    host = _kind(gpu_inventory.get("host_memory"), dict, "host_memory of gpu_inventory") or {}
    for key in ("total_bytes", "available_bytes", "swap_total_bytes", "swap_free_bytes"):
        _kind(host.get(key), int, "%s of host_memory" % key)
    for unit in _list(host, "units", "host_memory"):
        _kind(unit.get("unit"), str, "unit of host_memory")
        for key in ("used_bytes", "engines"):
            _kind(unit.get(key), int, "%s of unit %s" % (key, unit.get("unit")))


def _check_device(device: dict[str, Any], what: str) -> None:
    _kind(device.get("uuid"), str, "uuid of %s" % what)
    memory = _kind(device.get("memory"), dict, "memory of %s" % what) or {}
    for key in ("total_bytes", "free_bytes"):
        _kind(memory.get(key), int, "%s of %s" % (key, what))
    _kind(memory.get("kind"), str, "kind of the memory of %s" % what)
    for process in _list(device, "processes", what):
        _kind(process.get("used_bytes"), int, "used_bytes of a process on %s" % what)


def _kind(value: Any, kind: Any, what: str, may_be_unknown: bool = True) -> Any:
    if value is None and may_be_unknown:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PlacementError("The %s is %.80r, which gpu_facts never returns; %s." % (what, value, _REMEDY))
    return value


def _list(holder: dict[str, Any], key: str, what: str, kind: type = dict) -> Any:
    found = _kind(holder.get(key), (list, tuple), "%s of %s" % (key, what)) or []
    for item in found:
        _kind(item, kind, "entry in %s of %s" % (key, what), False)
    return found
