# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The order of GPUs: that of CUDA_DEVICE_ORDER=PCI_BUS_ID, in which the service numbers them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional


def pci_order(pci_bus_id: Optional[str], uuid: Optional[str]) -> tuple[str, str]:
    """Return the key by which GPUs are sorted: the PCI address, then the UUID.

    GPUs of a vendor without PCI addresses are so in the same order every time.

    Args:
        pci_bus_id: in the form of sysfs, "0000:41:00.0"; None where the GPU has none.
        uuid: of the GPU, None where it is not known.
    """
    return (str(pci_bus_id or "").lower(), str(uuid or ""))


def in_pci_order(gpus: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return GPUs, as the fact `gpu_inventory` has them in `gpus`, in PCI order."""
    return sorted(gpus, key=lambda gpu: pci_order(gpu.get("pci_bus_id"), gpu.get("uuid")))
