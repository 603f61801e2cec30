# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the driver and the way to it, each from the evidence that provokes it."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.diagnose.builders import (
    UNIT,
    A,
    broken,
    found,
    gpu,
    host,
    inventory,
    nodes,
    server,
)

LOST = {
    "uuid": None,
    "errors": {"handle": {"code": 15, "name": "GPU is lost"}},
    "health": {"state": "unusable", "reasons": []},
}
#: {kind: (evidence, words that its finding has)}
CASES = {
    "driver_library_mismatch": (host(inventory=broken("version_mismatch", driver_version="575.51")), ["575.51"]),
    "driver_not_loaded": (host(inventory=broken("driver_not_loaded")), ["driver_not_loaded"]),
    "driver_library_missing": (host(inventory=broken("no_library")), ["no_library"]),
    "driver_hangs": (host(inventory=broken("timeout")), ["timeout"]),
    "driver_refuses": (host(inventory=broken("nvml_error")), ["nvml_error"]),
    "gpu_not_listed": (
        host(inventory=inventory(unlisted=["0000:81:00.0"]), bound_drivers={"0000:81:00.0": "vfio-pci"}),
        ["0000:81:00.0", "vfio-pci"],
    ),
    "gpu_lost": (host(inventory=inventory(second=LOST)), ["for GPU 1 (RTX A6000, no UUID): ", "error 15"]),
    "device_node_missing": (host(nodes=nodes(uvm=None)), ["/dev/nvidia-uvm", "nvidia_uvm"]),
    "device_node_closed": (host(nodes=nodes(second=0o660)), ["user 998", "/dev/nvidia1 (mode 0660)"]),
    "unit_hides_devices": (
        host(servers=(server(closed_nodes={"/dev/nvidia0": "the unit hides it"}),)),
        ["/dev/nvidia0 (the unit hides it)", "systemctl cat " + UNIT],
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding


def test_a_host_without_gpus_lacks_no_driver():
    assert not found(host(inventory=broken("no_library", no_gpu_present=True), servers=()))


def test_a_system_without_nodes_of_this_kind_has_none_missing():
    """WSL and Jetson have other ones."""
    assert not found(host(nodes=nodes(control=None, uvm=None, first=None, second=None)))


@pytest.mark.parametrize(
    "user, mode, gid, closed",
    [((0, [0]), 0o600, 0, False), ((998, [44]), 0o660, 44, False), ((998, [44]), 0o640, 44, True)],
)
def test_who_may_open_a_node(user, mode, gid, closed):
    evidence = host(servers=(server(user=user),), nodes=nodes(first=mode))
    changed = tuple(type(node)(node.path, node.mode, 0, gid) for node in evidence.nodes)
    evidence = host(servers=(server(user=user),), nodes=changed)
    assert ("device_node_closed" in found(evidence)) is closed


def test_a_node_that_is_closed_to_servers_of_one_user_is_one_finding():
    both = tuple(server(name=name, engines=()) for name in ("one.service", "two.service"))
    finding = found(host(servers=both, nodes=nodes(second=0o660)))["device_node_closed"]
    assert "who runs one.service, two.service" in finding.evidence and finding.subject == ""
    assert found(host(nodes=nodes(second=0o660)))["device_node_closed"].subject == UNIT


def test_a_node_that_is_not_there_is_hidden_by_no_unit():
    assert not found(host(servers=(server(closed_nodes={"/dev/nvidia0": "it is not there"}),)))


def test_a_gpu_that_cannot_be_opened_is_one_finding():
    lost = dict(LOST, pci_bus_id=None)
    assert set(found(host(inventory=inventory(second=lost, unlisted=["0000:41:00.0"])))) == {"gpu_lost"}


def test_a_gpu_that_wants_a_reset_is_named():
    errors = {"memory": {"code": 16, "name": "reset required"}}
    finding = found(host(inventory=inventory(first={"errors": errors})))["gpu_lost"]
    assert finding.subject == A and "--gpu-reset" in finding.remedy and gpu(A, 0)["uuid"] == A
