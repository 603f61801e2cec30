# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The processes that NVML lists on a GPU, from the fake libnvidia-ml.so.1."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("pynvml")


def test_processes_version_2_are_enough(machine):
    changes = {
        "fault.nvmlDeviceGetComputeRunningProcesses_v3": 13,
        "gpu0.process.%d" % os.getpid(): "1048576 C python3",
    }
    assert [process["pid"] for process in machine(changes=changes)["gpus"][0]["processes"]] == [os.getpid()]
