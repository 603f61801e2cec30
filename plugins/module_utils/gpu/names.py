# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What people call a GPU: its number and name. The UUID is the identity in data. Pure."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

_OF_ALL = ("NVIDIA ", "GeForce ", "Tesla ")
#: A UUID that belongs to a word is part of something to be copied: a value of a variable, or an option of a command.
_WORD = r"(?<![\w=,'/-])(?:%s)(?![\w-]|,\S)"


def short_name(name: Any) -> str:
    """Return the name of a GPU without the words that all have."""
    name = str(name)
    for word in _OF_ALL:
        name = name[len(word) :] if name.startswith(word) else name
    return name


def gpu_names(inventory: Mapping[str, Any], plan: Optional[Mapping[str, Any]] = None) -> dict[str, str]:
    """Return {UUID: "GPU 0 (RTX A6000)"} of all GPUs and MIG devices that are known.

    A GPU that only the plan knows keeps its UUID beside its name: the number of one that is gone may be another's now.

    Args:
        inventory: the fact `gpu_inventory`.
        plan: of placement_info. Its numbers are those of the names of instances; it knows GPUs that are gone.
    """
    found: dict[str, str] = {}
    for gpu in inventory.get("gpus") or []:
        for device in [gpu, *((gpu.get("mig") or {}).get("devices") or [])]:
            part = "" if device is gpu else ", MIG device %s" % device.get("gpu_instance_id")
            _enter(found, device.get("uuid"), gpu.get("index"), part, device.get("name") or gpu.get("name"))
    there = set(found)
    for gpu in [*((plan or {}).get("gpus") or []), *((plan or {}).get("left_out") or [])]:
        uuid = gpu.get("uuid")
        _enter(found, uuid, gpu.get("number"), "", gpu.get("name"), "" if uuid in there else uuid)
    return found


def _enter(found: dict[str, str], uuid: Any, number: Any, part: str, name: Any, identity: Any = "") -> None:
    if uuid and number is not None:
        words = ", ".join(word for word in (short_name(name or ""), identity) if word)
        found[uuid] = "GPU %s%s%s" % (number, part, " (%s)" % words if words else "")


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
