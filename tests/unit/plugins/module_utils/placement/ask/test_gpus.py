# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs a plan may use, and how much of their memory."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import MIB, TWO_4090, TWO_A6000, outline, plan, wanted, where


def test_memory_of_our_units_that_nvml_does_not_tell_is_taken_from_the_applied_plan():
    before = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))
    running = hosts.loaded(TWO_A6000, before)
    for gpu in running["gpus"]:
        gpu["processes"] = [dict(process, used_bytes=None) for process in gpu["processes"]]
    after = plan(running, wanted("llama4-scout", context_length=32768), applied_plan=before)
    assert outline(after) == outline(before)


def test_a_gpu_keeps_the_number_of_the_applied_plan():
    before = plan(TWO_4090, wanted("llama3.1-8b"))
    moved = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
    moved["gpus"][0]["pci_bus_id"], moved["gpus"][1]["pci_bus_id"] = "0000:02:00.0", "0000:01:00.0"
    after = plan(moved, wanted("llama3.1-8b"), applied_plan=before)
    names = {instance["gpu_uuids"][0]: instance["name"] for instance in after["instances"]}
    assert names == {instance["gpu_uuids"][0]: instance["name"] for instance in before["instances"]}


def test_warnings_name_a_gpu_by_the_number_of_its_instances():
    before = plan(TWO_4090, wanted("llama3.1-8b"))
    for gpu in before["gpus"]:
        gpu["number"] += 5
    taken = hosts.with_process(TWO_4090, 0, 2000, "other.service")
    after = plan(taken, wanted("llama3.1-8b"), applied_plan=before)
    assert {instance["name"] for instance in after["instances"]} <= {"gpu5", "gpu6"}
    assert any("of GPU 5 (%s)" % TWO_4090["gpus"][0]["uuid"] in warning for warning in after["warnings"])


def test_selectors_take_index_uuid_and_pci_address():
    second = TWO_4090["gpus"][1]
    for selector in ("1", 1, second["uuid"], second["pci_bus_id"].upper(), "00000000:02:00.0"):
        result = plan(TWO_4090, wanted("llama3.1-8b"), selectors=[selector])
        assert [instance["name"] for instance in result["instances"]] == ["gpu1"]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"health": {"state": "unusable", "reasons": ["row remapping failed"]}}, "row remapping failed"),
        ({"compute_mode": "prohibited"}, "compute mode is prohibited"),
        ({"memory": {"total_bytes": None, "free_bytes": None}}, "memory is unknown"),
        ({"mig": {"mode": "enabled", "devices": []}}, "no MIG device"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_left_out_with_the_reason(change, reason):
    inventory = hosts.inventory(hosts.A6000, hosts.A6000)
    inventory["gpus"][0].update(change)
    result = plan(inventory, wanted("llama3.1-8b"))
    assert [instance["name"] for instance in result["instances"]] == ["gpu1"]
    assert any(reason in warning for warning in result["warnings"])


def test_a_gpu_in_exclusive_mode_with_a_tenant_is_left_out():
    inventory = hosts.inventory(hosts.A6000, hosts.A6000, compute_mode="exclusive_process")
    taken = hosts.with_process(inventory, 0, 500, "other.service")
    result = plan(taken, wanted("llama3.1-8b"))
    assert where(result) == {"llama3.1-8b": ["gpu1"]}
    assert any("exclusive compute mode and serves process 4000" in warning for warning in result["warnings"])
    before = plan(inventory, wanted("llama3.1-8b"))
    assert outline(plan(hosts.loaded(inventory, before), wanted("llama3.1-8b"), applied_plan=before)) == outline(before)
    desktop = hosts.with_process(inventory, 0, 500, "display.service")
    desktop["gpus"][0]["processes"][0]["type"] = "graphics"
    assert where(plan(desktop, wanted("llama3.1-8b"))) == {"llama3.1-8b": ["gpu0", "gpu1"]}


def test_a_mig_device_is_selected_by_its_uuid_and_keeps_its_own_memory():
    inventory = hosts.inventory((81559, 81000), hosts.A6000)
    slices = [
        {
            "uuid": "MIG-%08x-0000" % number,
            "name": "3g.40gb",
            "memory": {"total_bytes": 40000 * MIB, "free_bytes": 39000 * MIB},
        }
        for number in (1, 2)
    ]
    inventory["gpus"][0]["mig"] = {"mode": "enabled", "devices": slices}
    result = plan(inventory, wanted("llama3.1-8b"), selectors=["MIG-00000002-0000"])
    assert [instance["gpu_uuids"] for instance in result["instances"]] == [["MIG-00000002-0000"]]
    assert len(plan(inventory, wanted("llama3.1-8b"), selectors=["0"])["instances"]) == 2
    before = plan(inventory, wanted("llama3.1-8b"), selectors=["0"])
    for part, instance in zip(slices, before["instances"]):
        size = instance["models"][0]["predicted"]["devices"][0]["total_bytes"]
        part["memory"]["free_bytes"] -= size
        part["processes"] = [{"pid": 1, "name": "llama-server", "used_bytes": size, "unit": instance["unit"]}]
    assert outline(plan(inventory, wanted("llama3.1-8b"), selectors=["0"], applied_plan=before)) == outline(before)


@pytest.mark.parametrize("name", ["llama4-scout", "llama3.1-8b"])
def test_the_order_of_the_gpus_changes_nothing(name):
    turned = dict(TWO_A6000, gpus=list(reversed(TWO_A6000["gpus"])))
    assert plan(turned, wanted(name)) == plan(TWO_A6000, wanted(name))


@pytest.mark.parametrize(
    "name, mode, usable",
    [
        ("NVIDIA A16-4B", "vgpu_guest", False),
        ("GRID P40-1B4", "vgpu_guest", False),
        ("GRID RTX6000-8A", None, False),
        ("NVIDIA A16-16Q", "vgpu_guest", True),
        ("NVIDIA A100-40C", "vgpu_guest", True),
        ("NVIDIA A16", "passthrough", True),
    ],
)
def test_vgpu_profiles_without_cuda(name, mode, usable):
    result = plan(hosts.inventory(hosts.A6000, name=name, virtualization_mode=mode), wanted("llama3.1-8b"))
    assert result["feasible"] is usable
    assert usable or "profile %s" % name in result["models"][0]["reason"]


@pytest.mark.parametrize(
    "mode, pending, words",
    [
        ("disabled", "enabled", "MIG will be enabled after the next reset; it cannot be used as a whole then"),
        ("enabled", "disabled", "MIG will be disabled after the next reset; its MIG devices are gone then"),
        ("disabled", "disabled", None),
        (None, None, None),
        ("disabled", None, None),
    ],
)
@pytest.mark.parametrize("state", ["ok", "degraded"])
def test_a_mig_mode_that_waits_for_a_reset_is_said_once(mode, pending, words, state):
    """gpu_facts has it in the health as well; facts of another origin need not."""
    inventory = hosts.inventory(hosts.A6000)
    memory = {"total_bytes": 40000 * MIB, "free_bytes": 39000 * MIB}
    fact = inventory["gpus"][0]
    fact["mig"] = {"mode": mode, "pending_mode": pending, "devices": []}
    if mode == "enabled":
        fact["mig"]["devices"] = [{"uuid": "MIG-1", "memory": memory}]
    if state == "degraded":
        fact["health"] = {"state": "degraded", "reasons": ["MIG will be %s after the next reset" % pending]}
    found = [note for note in plan(inventory, wanted("llama3.1-8b"))["warnings"] if "is degraded" in note]
    if words:
        assert len(found) == 1 and words in found[0] and found[0].count("MIG will be") == 1
    elif state == "ok":
        assert found == []
