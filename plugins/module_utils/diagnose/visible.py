# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs a server may see, and which of them its release uses. Pure."""

from __future__ import annotations

from typing import Any, Optional

from ..common.gpu_devices import devices_of
from ..common.pci import in_pci_order
from ..releases import variable_values
from ..releases.libraries import compute_capability
from ..releases.release import Release
from ..releases.versions import UnknownVersion, release_of
from .shapes import HostEvidence, Server


def release(server: Server) -> Optional[Release]:
    """Return the release that a server runs, None where it does not tell one."""
    try:
        return release_of(server.version) if server.version else None
    except UnknownVersion:
        return None


def listed(evidence: HostEvidence) -> list[dict[str, Any]]:
    """Return the GPUs that CUDA can show, in PCI order; one that is divided is replaced by its MIG devices."""
    found = []
    for gpu in in_pci_order(evidence.gpus):
        devices = devices_of(gpu)
        found += [dict(one, uuid=one.get("uuid") or "", pci_bus_id=gpu.get("pci_bus_id")) for one in devices]
    return found


def visible(server: Server, evidence: HostEvidence) -> list[dict[str, Any]]:
    """Return the GPUs that CUDA shows to a server, in PCI order where it names them by number."""
    gpus = listed(evidence)
    return [gpus[place] for place, dummy in variable_values.visible_gpus(gpus, server.variables)]


def usable(server: Server, evidence: HostEvidence) -> list[dict[str, Any]]:
    """Return the GPUs that CUDA shows to a server and that its release and the driver can use."""
    found, by_pci = release(server), {gpu.get("pci_bus_id"): gpu for gpu in evidence.gpus}
    result = []
    for gpu in visible(server, evidence):
        whole = by_pci.get(gpu.get("pci_bus_id")) or gpu
        if (whole.get("health") or {}).get("state") == "unusable":
            continue
        refused = found and found.refused_gpu(
            compute_capability(whole.get("compute_capability")),
            evidence.inventory.get("driver_version"),
            library(server),
        )
        if not refused:
            result.append(gpu)
    return result


def library(server: Server) -> str:
    """Return what OLLAMA_LLM_LIBRARY of a server says, "" where it is not set."""
    return variable_values.text(server.variables, "OLLAMA_LLM_LIBRARY")
