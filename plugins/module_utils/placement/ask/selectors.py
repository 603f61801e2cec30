# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Selectors of GPUs: an index, a UUID or a PCI address, and of MIG devices the UUID."""

from __future__ import annotations

import re
from typing import Any, Optional, Sequence

from ...common.gpu_devices import mig_devices, mig_enabled
from ..errors import PlacementError

Facts = dict[str, Any]  # of one GPU or MIG device, or of all, as gpu_facts returns them

_UUID = re.compile(r"(gpu|mig)-[0-9a-z/-]+\Z")
_PCI_ADDRESS = re.compile(r"([0-9a-f]{4}|[0-9a-f]{8}):[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]\Z")
# YAML 1.1 takes 0000:41:00.0 without quotes for a number of base 60.
_OF_BASE_60 = re.compile(r"[0-9]+\.[0-9]*\Z")


def select(facts: Sequence[Facts], selectors: Any) -> list[str]:
    """UUIDs of the GPUs and MIG devices that the selectors name; those of all GPUs where they are None.

    Raises:
        PlacementError: a selector matches none.
    """
    if selectors is None:
        return [fact["uuid"] for fact in facts]
    if not isinstance(selectors, (list, tuple)):
        selectors = [selectors]
    chosen: list[str] = []
    for selector in selectors:
        found = matches(facts, selector)
        if not found:
            raise PlacementError(
                "GPU selector '%s' matches no GPU of this host; use the index, UUID or PCI address of one of: %s."
                % (selector, gpus_in_words(facts))
            )
        chosen.extend(uuid for uuid, dummy in found)
    return chosen


def matches(facts: Sequence[Facts], selector: Any) -> list[tuple[str, Facts]]:
    """What a selector names: (UUID of a GPU or MIG device, facts of its GPU)."""
    text = text_of(selector).lower()
    return [(uuid, fact) for uuid, fact in _all(facts) if _named(text, fact, uuid)]


def beginning_with(facts: Sequence[Facts], text: str) -> list[str]:
    """UUIDs of GPUs and MIG devices that begin with a text."""
    return [uuid for uuid, dummy in _all(facts) if uuid.lower().startswith(text.lower())]


def _all(facts: Sequence[Facts]) -> list[tuple[str, Facts]]:
    return [
        (device["uuid"], fact)
        for fact in facts
        for device in [fact] + [one for one in devices(fact) if one is not fact]
    ]


def check_form(selector: Any, where: str) -> None:
    """Refuse a text that names no GPU of any host.

    Args:
        where: words that say whose it is, for the message.

    Raises:
        PlacementError: it is no index, UUID or PCI address.
    """
    text = text_of(selector)
    if is_index(text) or _UUID.match(text.lower()) or _PCI_ADDRESS.match(text.lower()):
        return
    remedy = "give the index, UUID or PCI address of a GPU, as nvidia-smi -L and nvidia-smi -q show them"
    if _OF_BASE_60.match(text):
        remedy = "put a PCI address in quotes, because YAML takes 0000:41:00.0 for a number"
    raise PlacementError("%s is '%.80s', which names no GPU: %s." % (where, text, remedy))


def gpus_in_words(facts: Sequence[Facts]) -> str:
    """The GPUs of a host with what names them, for messages."""
    return ", ".join("%s (%s, %s)" % (fact.get("index"), fact["uuid"], fact.get("pci_bus_id")) for fact in facts) or (
        "none"
    )


def text_of(selector: Any) -> str:
    """A selector as text."""
    return "" if selector is None or isinstance(selector, (bool, dict, list)) else str(selector).strip()


def is_index(selector: Any) -> bool:
    """Whether a selector is the driver's index of a GPU, which changes when a GPU before it is gone."""
    return str(selector).strip().isdigit()


def is_address(selector: str, pci_bus_id: Optional[str]) -> bool:
    """Whether a selector is the PCI address of a GPU. NVML writes the domain with eight digits, sysfs with four."""
    text, address = selector.lower(), str(pci_bus_id or "").lower()
    long_form = text.count(":") == 2 and text.index(":") == 8 and text.split(":", 1)[1] == address.split(":", 1)[-1]
    return bool(address) and (text == address or long_form)


def devices(fact: Facts) -> list[Facts]:
    """A GPU is one device, a GPU in MIG mode as many as it has MIG devices (CUDA cannot use it as a whole)."""
    if not mig_enabled(fact):
        return [fact]
    return [dict(device, processes=device.get("processes") or []) for device in mig_devices(fact) if device.get("uuid")]


def _named(text: str, fact: Facts, uuid: str) -> bool:
    """Whether a selector names a GPU, or by UUID one of its MIG devices."""
    if text == uuid.lower():
        return True
    is_its_index = fact.get("index") is not None and text == str(fact["index"])
    return uuid == fact["uuid"] and (is_its_index or is_address(text, fact.get("pci_bus_id")))
