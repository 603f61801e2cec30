# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs of a plan no program can compute on now, by the fact `gpu_inventory`. Pure.

A server would put their models on other GPUs, or on the CPU. A GPU with faults that still computes is none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .gpu_devices import devices_by_uuid, mig_enabled


class Missing(NamedTuple):
    """Why a GPU is missing, as the end of a sentence, and a sentence about what to do."""

    reason: str
    remedy: str
    listed: bool = True


_UNLISTED = Missing(
    "the driver does not list it",
    "Look at nvidia-smi -L and at the kernel log, or run the role again without it.",
    listed=False,
)
_NO_PART = Missing("MIG is enabled and no MIG device exists", "Create one, or disable MIG.")
_PROHIBITED = Missing("the compute mode is prohibited", "Run nvidia-smi --compute-mode=DEFAULT.")


def missing_gpus(uuids: Iterable[str], facts: Mapping[str, Any]) -> dict[str, Missing]:
    """Return why each of these GPUs and MIG devices is missing; those that are there are left out.

    Args:
        uuids: of a plan.
        facts: the fact `gpu_inventory`.
    """
    there = devices_by_uuid(facts)
    found = {uuid: _why_missing(there.get(uuid)) for uuid in dict.fromkeys(uuids)}
    return {uuid: why for uuid, why in found.items() if why}


def _why_missing(device: dict[str, Any] | None) -> Missing | None:
    if device is None:
        return _UNLISTED
    if mig_enabled(device):  # one with MIG devices is replaced by them
        return _NO_PART
    return _PROHIBITED if device.get("compute_mode") == "prohibited" else None
