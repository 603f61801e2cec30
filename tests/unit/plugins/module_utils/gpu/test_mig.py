# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""MIG devices and the processes in them, from the fake libnvidia-ml.so.1."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("pynvml")

MIB = 1024**2


def test_mig_devices_are_found_beyond_a_hole(machine):
    (gpu,) = machine("a100-mig")["gpus"]
    assert gpu["mig"]["mode"] == "enabled"
    assert [device["uuid"][:12] for device in gpu["mig"]["devices"]] == ["MIG-c0de0000", "MIG-c0de0002"]
    assert gpu["mig"]["devices"][0]["memory"]["total_bytes"] == 20096 * MIB
    assert gpu["utilization"]["gpu_percent"] is None


@pytest.mark.parametrize(
    "fault, listed", [({}, True), ({"gpu0.fault.nvmlDeviceGetComputeRunningProcesses": 999}, False)]
)
def test_a_process_in_a_mig_device_is_on_that_device_and_on_its_gpu(machine, fault, listed):
    changes = {"gpu0.mig.2.process.%d" % os.getpid(): "%d C llama-server" % (5 * 1024 * MIB)}
    (gpu,) = machine("a100-mig", {**changes, **fault})["gpus"]
    first, second = gpu["mig"]["devices"]
    assert [process["pid"] for process in first["processes"]] == []
    assert [process["pid"] for process in second["processes"]] == ([os.getpid()] if listed else [])
    assert ("processes" in gpu["errors"]) is not listed
    assert second["memory"]["used_bytes"] == (5 * 1024 + 19) * MIB
    assert [process["used_bytes"] for process in gpu["processes"]] == ([5 * 1024 * MIB] if listed else [])


def test_without_privileges_the_mig_devices_tell_what_the_gpu_does_not(machine):
    changes = {
        "gpu0.mig.0.process.%d" % os.getpid(): "%d C llama-server" % MIB,
        "gpu0.own.fault.nvmlDeviceGetComputeRunningProcesses": 4,
    }
    (gpu,) = machine("a100-mig", changes)["gpus"]
    assert [len(device["processes"]) for device in gpu["mig"]["devices"]] == [1, 0]
    assert [process["pid"] for process in gpu["processes"]] == [os.getpid()]
    assert "processes" not in gpu["errors"]
