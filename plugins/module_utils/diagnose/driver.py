# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the driver, the GPUs that it lists, and what keeps a service from opening them. Pure."""

from __future__ import annotations

from typing import Any, Iterator

from ..gpu import health, schema
from ..gpu.names import unnamed
from .kinds import remedy_of
from .shapes import CERTAIN, LIKELY, Finding, HostEvidence, Node, Server

#: State of the inventory -> kind of finding. Where there is no GPU on the bus, a missing driver is no fault.
_STATES = {
    schema.VERSION_MISMATCH: "driver_library_mismatch",
    schema.DRIVER_NOT_LOADED: "driver_not_loaded",
    schema.NO_LIBRARY: "driver_library_missing",
    schema.TIMEOUT: "driver_hangs",
    schema.NO_PERMISSION: "driver_refuses",
    schema.NVML_ERROR: "driver_refuses",
}
_CONTROL, _UNIFIED_MEMORY = "/dev/nvidiactl", "/dev/nvidia-uvm"
_READ_AND_WRITE = 6
#: The reason that host/device_nodes.py gives for a missing node, which is a finding of its own.
_NOT_THERE = "it is not there"


def driver_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield why the driver or a service cannot use the GPUs of the host."""
    inventory = evidence.inventory
    kind = _STATES.get(inventory.get("state") or "")
    if kind and not inventory.get("no_gpu_present"):
        version = inventory.get("driver_version")
        seen = (inventory.get("reason") or inventory["state"]).rstrip(".")
        told = " (the loaded module is %s)" % version if version and version not in seen else ""
        yield Finding(kind, seen + told, CERTAIN, inventory.get("remedy") or "Run nvidia-smi on the host.")
        return
    # A GPU that the driver lists but cannot open has no address here. One of the addresses on the bus that the driver
    # does not list is its own, and `_lost` has the finding.
    nameless = sum(gpu.get("pci_bus_id") is None for gpu in evidence.gpus)
    for address in (inventory.get("unlisted") or [])[nameless:]:
        yield _not_listed(address, evidence)
    for gpu in evidence.gpus:
        yield from _lost(gpu)
    yield from _nodes(evidence)
    for server in _users(evidence):
        yield from _sandbox(server)


def _not_listed(address: str, evidence: HostEvidence) -> Finding:
    bound = evidence.bound_drivers.get(address)
    seen = "the GPU at %s is on the PCI bus, but the driver %s does not list it" % (
        address,
        evidence.inventory.get("driver_version") or "",
    )
    if bound and not bound.startswith("nvidia"):
        return Finding(
            "gpu_not_listed",
            "%s: it is bound to %s" % (seen, bound),
            CERTAIN,
            "The GPU was given to a virtual machine, or the module %s took it at boot. To use it on this host, bind it "
            "to the driver nvidia." % bound,
            subject=address,
        )
    remedy = "Look for NVRM and Xid in journalctl -k, then reboot the host. If the GPU is still missing, reseat it."
    return Finding("gpu_not_listed", seen, CERTAIN, remedy, subject=address)


def _lost(gpu: dict[str, Any]) -> Iterator[Finding]:
    codes = {error.get("code"): field for field, error in (gpu.get("errors") or {}).items()}
    where = gpu.get("uuid") or unnamed(gpu)
    for code, says, remedy in (
        (
            health.LOST,
            "GPU is lost",
            "Reboot the host. If it happens again, look for Xid 79 in journalctl -k: check power, cooling and seat.",
        ),
        (health.RESET_REQUIRED, "a reset is required", "Run nvidia-smi --gpu-reset, or reboot the host."),
    ):
        if code in codes:
            yield Finding(
                "gpu_lost", "NVML reports for %s: %s (error %d)" % (where, says, code), CERTAIN, remedy, "", where
            )
            return
    if gpu.get("uuid") is None:
        errors = ", ".join(error.get("name") or "?" for error in (gpu.get("errors") or {}).values())
        yield Finding(
            "gpu_lost",
            "the driver lists %s but cannot open it%s" % (where, " (%s)" % errors if errors else ""),
            CERTAIN,
            "Look for Xid in journalctl -k, then reboot the host.",
            subject=where,
        )


# -- device nodes ------------------------------------------------------------------------------------------------------


def _users(evidence: HostEvidence) -> list[Server]:
    return [server for server in evidence.servers if server.wants_gpus and server.pid] if evidence.gpus else []


def _nodes(evidence: HostEvidence) -> Iterator[Finding]:
    nodes = {node.path: node for node in evidence.nodes}
    control = nodes.get(_CONTROL)
    # A system without it gives its GPUs other nodes (WSL, Jetson).
    if control is None or control.mode is None:
        return
    for gpu in evidence.gpus:
        path = "/dev/nvidia%s" % gpu.get("minor_number")
        if gpu.get("minor_number") is not None and path in nodes and nodes[path].mode is None:
            yield _missing(path, gpu.get("uuid") or "")
    if _UNIFIED_MEMORY in nodes and nodes[_UNIFIED_MEMORY].mode is None and evidence.gpus:
        yield _missing(_UNIFIED_MEMORY, "")
    alike: dict[tuple[int, str], list[str]] = {}
    for server in _users(evidence):
        closed = [node for node in nodes.values() if server.user and not _may_open(node, server.user)]
        if closed and server.user:
            told = ", ".join("%s (mode %04o)" % (one.path, one.mode or 0) for one in closed)
            alike.setdefault((server.user[0], told), []).append(server.name)
    for (user, told), names in alike.items():
        yield Finding(
            "device_node_closed",
            "user %d, who runs %s, may not open %s" % (user, ", ".join(names), told),
            CERTAIN,
            "Set the mode of the nodes to 0666, which is the default of the driver, or add the user to the group of "
            "the nodes. The options NVreg_DeviceFileMode and NVreg_DeviceFileGID of the kernel module nvidia set "
            "both. Then restart the service.",
            subject=names[0] if len(names) == 1 else "",
        )


def _missing(path: str, subject: str) -> Finding:
    is_uvm = path == _UNIFIED_MEMORY
    return Finding(
        "device_node_missing",
        "the device node %s is missing, although %s exists" % (path, _CONTROL),
        CERTAIN if is_uvm else LIKELY,
        "Run nvidia-modprobe%s. To have the node after each boot, list the module %s in /etc/modules-load.d. Then "
        "restart the services of Ollama: they look for GPUs only when they start."
        % (" -u -c 0" if is_uvm else "", "nvidia_uvm" if is_uvm else "nvidia"),
        subject=subject,
    )


def _may_open(node: Node, user: tuple[int, list[int]]) -> bool:
    if node.mode is None or user[0] == 0:
        return True  # a missing node is a finding of its own
    if user[0] == node.uid:
        bits = node.mode >> 6
    else:
        bits = node.mode >> 3 if node.gid in user[1] else node.mode
    return bits & _READ_AND_WRITE == _READ_AND_WRITE


def _sandbox(server: Server) -> Iterator[Finding]:
    hidden = {node: why for node, why in server.closed_nodes.items() if why != _NOT_THERE}
    if hidden:
        by_why: dict[str, list[str]] = {}
        for node, why in hidden.items():
            by_why.setdefault(why, []).append(node)
        yield Finding(
            "unit_hides_devices",
            "%s cannot open its GPUs: %s"
            % (server.name, "; ".join("%s (%s)" % (", ".join(nodes), why) for why, nodes in by_why.items())),
            CERTAIN,
            remedy_of("unit_hides_devices", SERVICE=server.name),
            subject=server.name,
        )
