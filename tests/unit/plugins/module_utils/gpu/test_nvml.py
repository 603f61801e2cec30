# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The real nvidia-ml-py over the rig's libnvidia-ml.so.1: whole machines, faults, hangs."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import nvml, sysfs

from tests.rig.gpus import state as gpu_state

pytest.importorskip("pynvml")

MIB = 1024 * 1024


def test_two_gpus(machine):
    facts = machine()
    assert (facts["state"], facts["driver_version"], facts["cuda_version"]) == ("ok", "580.95.05", "13.0")
    first, second = facts["gpus"]
    assert first["name"] == "NVIDIA RTX A6000"
    assert (first["pci_bus_id"], second["pci_bus_id"]) == ("0000:01:00.0", "0000:41:00.0")
    assert first["uuid"] != second["uuid"] and first["uuid"].startswith("GPU-")
    assert (first["architecture"], first["compute_capability"], first["compute_mode"]) == ("Ampere", "8.6", "default")
    memory = first["memory"]
    assert memory["total_bytes"] == 49140 * MIB
    assert memory["total_bytes"] == memory["free_bytes"] + memory["used_bytes"] + memory["reserved_bytes"]
    assert first["health"] == {"state": "ok", "reasons": []}
    assert first["mig"]["mode"] is None and "mig" in first["unsupported"]
    assert facts["topology"] == [
        {"uuids": [first["uuid"], second["uuid"]], "path": "NODE", "nvlinks": 4, "peer_access": "ok"}
    ]
    assert first["nvlink"] == {"links": 4, "active": 4}
    assert first["default_power_limit_milliwatts"] == first["power_limit_milliwatts"] == 300000
    assert first["vgpu_licensed"] is None


def test_eight_gpus_have_a_link_for_every_pair(machine):
    facts = machine("h100-x8")
    assert len(facts["gpus"]) == 8
    assert len(facts["topology"]) == 28
    assert {link["path"] for link in facts["topology"]} == {"NODE", "SYS"}


def test_processes_carry_their_unit_and_bytes(machine):
    facts = machine(changes={"gpu1.process.%d" % os.getpid(): "%d C python3" % (5 * 1024 * MIB)})
    assert facts["gpus"][0]["processes"] == []
    (process,) = facts["gpus"][1]["processes"]
    assert process["pid"] == os.getpid()
    assert process["used_bytes"] == 5 * 1024 * MIB
    assert process["name"] == pathlib.Path("/proc/self/comm").read_text().strip()
    assert "unit" in process
    assert facts["gpus"][1]["memory"]["used_bytes"] == 5 * 1024 * MIB


def test_a_process_of_unknown_size_is_null_and_not_zero(machine):
    facts = machine(changes={"gpu0.process.%d" % os.getpid(): "- C python3"})
    assert facts["gpus"][0]["processes"][0]["used_bytes"] is None


def test_a_process_that_holds_more_than_the_gpu_has_is_noise(machine):
    """Drivers 535.43 to 535.86 (nvml.md 2.3 number 8)."""
    facts = machine(changes={"gpu0.process.%d" % os.getpid(): "%d C python3" % (10**18)})
    assert facts["gpus"][0]["processes"][0]["used_bytes"] is None


def test_memory_version_1_is_enough(machine):
    facts = machine(changes={"fault.nvmlDeviceGetMemoryInfo_v2": 25})
    assert facts["gpus"][0]["memory"]["reserved_bytes"] is None
    assert facts["gpus"][0]["memory"]["total_bytes"] == 49140 * MIB
    assert facts["gpus"][0]["errors"] == {}


def test_unified_memory_is_the_hosts(machine):
    facts = machine("gb10")
    (gpu,) = facts["gpus"]
    assert gpu["memory"]["kind"] == "unified"
    assert gpu["memory"]["total_bytes"] == int(pathlib.Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert gpu["pci_bus_id"] == "000f:01:00.0"
    assert "memory" in gpu["unsupported"] and gpu["pcie"]["width"] is None


def test_a_discrete_gpu_with_as_much_memory_as_the_host_stays_discrete(machine):
    host = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) * 1024
    facts = machine("rtx-4090-x2", {"gpu0.memory.total": host})
    assert facts["gpus"][0]["memory"]["kind"] == "dedicated"


@pytest.mark.parametrize(
    "changes, state, words",
    [
        ({"fault.nvmlInit": 9}, "driver_not_loaded", "modprobe"),
        ({"fault.nvmlInit": 18}, "version_mismatch", "Reboot"),
        ({"fault.nvmlInit": 4}, "no_permission", "become"),
        ({"fault.nvmlInit": 17}, "no_permission", "become"),
        ({"fault.nvmlInit": 999}, "nvml_error", "nvidia-smi"),
        ({"fault.nvmlInit": 41}, "nvml_error", "nvidia-smi"),
        ({"fault.nvmlDeviceGetCount": 999}, "nvml_error", "nvidia-smi"),
        ({"gpus": 0}, "no_devices", "lspci"),
    ],
)
def test_a_host_in_trouble_has_a_state_a_reason_and_a_remedy(machine, changes, state, words):
    facts = machine(changes=changes)
    assert facts["state"] == state
    assert facts["gpus"] == []
    assert facts["reason"] and words in facts["remedy"]


def test_a_driver_without_its_module(machine):
    assert machine(preset=None)["state"] == "driver_not_loaded"


def test_a_host_without_the_library(machine, tmp_path):
    (tmp_path / "empty").mkdir()
    facts = machine(directory=tmp_path / "empty")
    if facts["state"] == "ok":
        pytest.skip("this machine has a driver of its own")
    assert facts["state"] == "no_library"
    assert "libnvidia-ml.so.1" in facts["reason"]


def test_a_driver_that_hangs_costs_the_timeout_and_no_more(machine):
    began = time.monotonic()
    facts = machine(changes={"delay.nvmlInit": 60000}, timeout=0.3)
    assert facts["state"] == "timeout"
    assert "0.3 seconds" in facts["reason"]
    assert time.monotonic() - began < 50


@pytest.mark.parametrize("code, word", [(15, "lost"), (16, "reset"), (999, "Xid")])
def test_a_gpu_in_trouble_does_not_hide_the_others(machine, code, word):
    facts = machine(changes={"gpu0.fault": code})
    assert facts["state"] == "ok"
    assert facts["gpus"][0]["health"]["state"] == "unusable"
    assert word in facts["gpus"][0]["health"]["reasons"][0]
    assert facts["gpus"][1]["health"]["state"] == "ok"
    assert facts["gpus"][1]["memory"]["total_bytes"] == 49140 * MIB


def test_a_gpu_that_is_lost_midway(machine):
    facts = machine(changes={"gpu0.fault.nvmlDeviceGetMemoryInfo": 15})
    assert facts["gpus"][0]["uuid"]
    assert facts["gpus"][0]["health"]["state"] == "unusable"
    assert facts["gpus"][0]["memory"]["total_bytes"] is None


def test_a_field_without_permission_is_an_error_of_that_field_only(machine):
    gpu = machine(changes={"gpu0.fault.nvmlDeviceGetComputeMode": 4})["gpus"][0]
    assert gpu["errors"]["compute_mode"]["code"] == 4
    assert gpu["compute_mode"] is None
    assert gpu["health"]["state"] == "ok"


@pytest.mark.parametrize(
    "changes, state",
    [
        ({"gpu0.compute_mode": 2}, "unusable"),
        ({"gpu0.remapped": "0 0 0 1"}, "unusable"),
        ({"gpu0.remapped": "0 0 1 0"}, "degraded"),
        ({"gpu0.recovery_action": 1}, "unusable"),
        ({"gpu0.throttle": 8}, "degraded"),
        ({"gpu0.ecc": 1, "gpu0.ecc.volatile": 3}, "unusable"),
        ({"gpu0.pcie.width": 4}, "degraded"),
    ],
)
def test_health(machine, changes, state):
    assert machine(changes=changes)["gpus"][0]["health"]["state"] == state


def test_the_order_of_the_gpus_changes_their_index_only(machine):
    straight = machine()["gpus"]
    state = gpu_state.preset("rtx-a6000-x2")
    swapped = {}
    for key, value in state.items():
        other = key.replace("gpu0.", "gpuX.").replace("gpu1.", "gpu0.").replace("gpuX.", "gpu1.")
        swapped[other] = value
    turned = machine(changes=swapped)["gpus"]
    assert [gpu["index"] for gpu in turned] == [0, 1]
    assert [dict(gpu, index=None) for gpu in turned[::-1]] == [dict(gpu, index=None) for gpu in straight]


@pytest.mark.parametrize("wsl", [True, False])
def test_a_host_that_is_wsl_is_told(monkeypatch, tmp_path, wsl):
    class NoGpus:
        NVMLError = ValueError

        @staticmethod
        def nvmlDeviceGetCount():
            return 0

    monkeypatch.setattr(sysfs, "_WSL", str(tmp_path if wsl else tmp_path / "dxg"))
    assert nvml._inventory(NoGpus).wsl is wsl
