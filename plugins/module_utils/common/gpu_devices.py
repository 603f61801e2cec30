# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The devices in the fact `gpu_inventory` that programs can compute on: GPUs and MIG devices. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mig_enabled(gpu: Mapping[str, Any]) -> bool:
    """Return whether a GPU of the fact is divided into MIG devices, so that CUDA cannot use it as a whole."""
    return (gpu.get("mig") or {}).get("mode") == "enabled"


def mig_devices(gpu: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the MIG devices of a GPU of the fact; none where it is not divided."""
    return (gpu.get("mig") or {}).get("devices") or []


def devices_of(gpu: Any) -> list[Any]:
    """Return what a GPU of the fact is for programs: its MIG devices, or the GPU itself where it has none.

    NVML lists the processes of MIG devices on the GPU as well.
    """
    return mig_devices(gpu) or [gpu]


def with_mig_devices(gpu: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a GPU of the fact and, after it, its MIG devices."""
    return [gpu, *mig_devices(gpu)]


def devices_by_uuid(facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the GPUs of the fact `gpu_inventory` by UUID, with MIG devices in the place of their GPU."""
    found = {}
    for gpu in facts.get("gpus") or []:
        for device in devices_of(gpu):
            if device.get("uuid"):
                found[device["uuid"]] = device
    return found
