# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about CUDA_VISIBLE_DEVICES: GPUs that it hides from a server, and entries that name none. Pure."""

from __future__ import annotations

from typing import Iterator

from ..common.visible_devices import VISIBLE_DEVICES
from .shapes import CERTAIN, LIKELY, POSSIBLE, Finding, HostEvidence, Server
from .visible import listed, visible

_ORDER = "CUDA_DEVICE_ORDER"


def visible_devices(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what is wrong with the variable of a server."""
    gpus = listed(evidence)
    if VISIBLE_DEVICES not in server.variables or not gpus or not server.wants_gpus:
        return
    text = server.variables[VISIBLE_DEVICES]
    tokens = [token.strip() for token in text.split(",")]
    found = visible(server, evidence)
    mig = [one for one in gpus if one["uuid"].startswith("MIG-")]
    if text.strip() in ("", "-1"):
        yield Finding(
            "visible_devices_none",
            "%s has %s='%s', which hides all %d GPUs" % (server.name, VISIBLE_DEVICES, text, len(gpus)),
            CERTAIN,
            "Remove the variable from the unit, or set it to the UUIDs of GPUs (nvidia-smi -L lists them). Then "
            "restart the service.",
            "ollama_multigpu_gpus",
            server.name,
        )
        return
    if len(found) < len(tokens):
        if any(one in found for one in mig) and all(_names_one(token, gpus) for token in tokens):
            yield _one_mig_device(server, len(tokens))
        elif tokens[len(found)] not in ((server.planned or {}).get("gpu_uuids") or []):  # one of a plan was there
            yield _invalid(server, tokens, len(found), evidence)
    if any(token.isdigit() for token in tokens) and len(gpus) > 1:
        by_bus = server.variables.get(_ORDER) == "PCI_BUS_ID"
        mixed = len({one.get("name") for one in gpus}) > 1
        order = "PCI order, which changes when a GPU is missing" if by_bus else "CUDA's order, the fastest first"
        yield Finding(
            "visible_devices_by_index",
            "%s has %s=%s: these indices are in %s%s"
            % (server.name, VISIBLE_DEVICES, text, order, ", and the GPUs differ" if mixed else ""),
            LIKELY if mixed and not by_bus else POSSIBLE,
            "Use UUIDs (nvidia-smi -L lists them)%s."
            % ("" if by_bus else ", or also set CUDA_DEVICE_ORDER=PCI_BUS_ID"),
            "ollama_multigpu_gpus",
            server.name,
        )


def _invalid(server: Server, tokens: list[str], left: int, evidence: HostEvidence) -> Finding:
    """The first entry that shows no GPU; it may name one that the driver does not list, or cannot open."""
    away = bool(evidence.inventory.get("unlisted")) or any(not gpu.get("uuid") for gpu in evidence.gpus)
    seen = (
        "%s has %s=%s: '%s' is not a GPU of this host, or is listed twice. CUDA ignores this entry and all after it: "
        "%d of %d are left%s"
    )
    also = ". The entry may be the GPU that the driver does not list" if away else ""
    return Finding(
        "visible_devices_invalid",
        seen % (server.name, VISIBLE_DEVICES, ",".join(tokens), tokens[left], left, len(tokens), also),
        POSSIBLE if away else CERTAIN,
        "Use the UUIDs that nvidia-smi -L lists, and restart the service."
        if not away
        else "Look at that GPU first. If the entry is wrong, use the UUIDs that nvidia-smi -L lists.",
        "ollama_multigpu_gpus",
        server.name,
    )


def _names_one(token: str, gpus: list[dict]) -> bool:
    return bool(token) and len([one for one in gpus if one["uuid"].startswith(token)]) == 1


def _one_mig_device(server: Server, given: int) -> Finding:
    return Finding(
        "mig_one_device_only",
        "%s is given %d MIG devices, but CUDA lets a process use only one" % (server.name, given),
        CERTAIN,
        "Run one server for each MIG device, as the role does, or create one larger MIG device.",
        "ollama_multigpu_models[].strategy",
        server.name,
    )


def hidden_from_all(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield the GPUs that no server sees, where one hides them."""
    running = [server for server in evidence.servers if server.pid and server.wants_gpus]
    seen = {gpu["uuid"] for server in running for gpu in visible(server, evidence)}
    hidden = [gpu["uuid"] for gpu in listed(evidence) if gpu["uuid"] not in seen and not gpu["uuid"].startswith("MIG-")]
    # A plan that leaves a GPU out says so itself.
    if not hidden or not seen or any(server.planned for server in running):
        return
    names = [
        "%s has %s=%s" % (one.name, VISIBLE_DEVICES, one.variables[VISIBLE_DEVICES])
        for one in running
        if VISIBLE_DEVICES in one.variables
    ]
    if names:
        yield Finding(
            "visible_devices_fewer",
            "%s: no server can use %s" % ("; ".join(names), ", ".join(hidden)),
            LIKELY,
            "List all GPUs in the variable, or remove it from the unit. Then restart the service.",
            "ollama_multigpu_gpus",
        )
