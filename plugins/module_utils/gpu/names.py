# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What people call a GPU: its number and name. The UUID is the identity in data. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Mapping, Optional

from ..common.gpu_devices import with_mig_devices

_OF_ALL = ("NVIDIA ", "GeForce ", "Tesla ")
#: A UUID that belongs to a word is part of something to be copied: a value of a variable, or an option of a command.
_WORD = r"(?<![\w=,'/-])(?:%s)(?![\w-]|,\S)"


def short_name(name: Any) -> str:
    """Return the name of a GPU without the words that all have."""
    name = str(name)
    for word in _OF_ALL:
        name = name[len(word) :] if name.startswith(word) else name
    return name


def number_of(gpu: Mapping[str, Any]) -> Optional[int]:
    """Return the number of a GPU that people see: the one that a plan has given it, else the index of NVML.

    Args:
        gpu: of a plan, or of the fact `gpu_inventory`, which has the index alone.
    """
    return gpu.get("number") if gpu.get("number") is not None else gpu.get("index")


def gpu_names(
    inventory: Mapping[str, Any], plan: Optional[Mapping[str, Any]] = None, with_uuids: bool = False
) -> dict[str, str]:
    """Return {UUID: "GPU 0 (RTX A6000)"} of all GPUs and MIG devices that are known.

    No two have the same name. A GPU that only the plan knows keeps its UUID beside its name, because the number of one
    that is gone may be another's now. So do GPUs with the same number: a new GPU has the index of NVML, which may be
    the number that the plan has given to another one.

    Args:
        inventory: the fact `gpu_inventory`.
        plan: of placement_info. Its numbers are those of the names of instances; it knows GPUs that are gone.
        with_uuids: whether all names have the UUID.
    """
    planned, numbers = _planned(plan), shown_numbers(inventory, plan)
    labels: dict[str, str] = {}
    words: dict[str, str] = {}
    for gpu in inventory.get("gpus") or []:
        for device in with_mig_devices(gpu):
            part = "" if device is gpu else ", MIG device %s" % device.get("gpu_instance_id")
            if device.get("uuid") in numbers:
                labels[device["uuid"]] = "GPU %s%s" % (numbers[device["uuid"]], part)
                words[device["uuid"]] = short_name(device.get("name") or gpu.get("name") or "")
    there = set(labels)
    for uuid in planned.keys() - there:
        labels[uuid], words[uuid] = "GPU %s" % number_of(planned[uuid]), short_name(planned[uuid].get("name") or "")
    count = Counter(labels.values())
    alone = {uuid for uuid in there if count[labels[uuid]] == 1 and not with_uuids}
    return {uuid: _named(labels[uuid], words[uuid], "" if uuid in alone else uuid) for uuid in labels}


def shown_numbers(inventory: Mapping[str, Any], plan: Optional[Mapping[str, Any]] = None) -> dict[str, int]:
    """Return {UUID: number that people see} of the GPUs and MIG devices of a host. A MIG device has that of its GPU.

    Args:
        inventory: the fact `gpu_inventory`.
        plan: of placement_info.
    """
    planned, found = _planned(plan), {}
    for gpu in inventory.get("gpus") or []:
        # A plan lists the MIG devices of a GPU in its place, with the number of the GPU.
        known = [number_of(planned[one["uuid"]]) for one in with_mig_devices(gpu) if one.get("uuid") in planned]
        number = known[0] if known else number_of(gpu)
        if number is not None:
            found.update({one["uuid"]: number for one in with_mig_devices(gpu) if one.get("uuid")})
    return found


def unnamed(gpu: Mapping[str, Any]) -> str:
    """Return "GPU 1 (RTX A6000, no UUID)" for a GPU that the driver lists without its UUID, with the index of NVML: no
    plan can have numbered it.

    Args:
        gpu: of the fact `gpu_inventory`.
    """
    return _named("GPU %s" % gpu.get("index"), short_name(gpu.get("name") or ""), "no UUID")


def _planned(plan: Optional[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    listed = [*((plan or {}).get("left_out") or []), *((plan or {}).get("gpus") or [])]
    return {gpu["uuid"]: gpu for gpu in listed if gpu.get("uuid") and number_of(gpu) is not None}


def _named(label: str, *words: str) -> str:
    shown = ", ".join(word for word in words if word)
    return "%s (%s)" % (label, shown) if shown else label


def with_names(text: str, names: Mapping[str, str]) -> str:
    """Return a text for people in which GPUs have their names in place of UUIDs.

    Values of variables and options of commands stay as they are.

    Args:
        text: a sentence.
        names: of `gpu_names`.
    """
    if not names:
        return text
    pattern = _WORD % "|".join(re.escape(uuid) for uuid in names)
    return re.sub(pattern, lambda match: names[match.group()], text)
