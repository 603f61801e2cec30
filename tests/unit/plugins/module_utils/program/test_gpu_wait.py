# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wait for the planned GPUs: as long as the host is young, and no longer."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import gpu_wait

from tests.unit.plugins.module_utils.evidence.builders import A, B, observations
from tests.unit.plugins.module_utils.program.host import Host


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.fixture(name="clock")
def _clock(monkeypatch):
    """Seconds since the boot: a look at the GPUs takes none, a pause one."""
    clock = {"up": 5.0, "looks": 0}
    monkeypatch.setattr(gpu_wait, "_up", lambda: clock["up"])
    passes = SimpleNamespace(time=time.time, sleep=lambda seconds: clock.update(up=clock["up"] + seconds))
    monkeypatch.setattr(gpu_wait, "time", passes)
    return clock


def inventories(monkeypatch, clock, *found):
    """What NVML shows at one look after the other; the last one stays."""

    def read(_timeout):
        shown = found[min(clock["looks"], len(found) - 1)]
        clock["looks"] += 1
        return shown, None

    monkeypatch.setattr(gpu_wait.nvml, "read_inventory", read)


def both():
    return observations().inventory


def first():
    seen = both()
    return dict(seen, gpus=seen["gpus"][:1])


NO_DRIVER = {"state": "driver_not_loaded", "reason": "the driver is not loaded", "remedy": "Load it.", "gpus": []}


def test_a_driver_that_comes_late_is_waited_for(host, monkeypatch, clock):
    inventories(monkeypatch, clock, NO_DRIVER, first(), both())
    answer = gpu_wait.wait_for_gpus(host.places, 60)
    assert answer.code == 0 and answer.data["missing"] == [] and clock["looks"] == 3
    assert A in answer.lines[0].text and B in answer.lines[0].text


def test_what_is_missing_after_the_limit_is_named(host, monkeypatch, clock):
    inventories(monkeypatch, clock, first())
    answer = gpu_wait.wait_for_gpus(host.places, 60)
    assert answer.code == 1 and answer.data["missing"] == [B] and 60 <= clock["up"] <= 62
    (line,) = answer.lines
    assert line.level == 3 and B in line.text and "gpu0-1" in line.text and "Remedy" in line.text


@pytest.mark.parametrize(
    "state, words",
    [
        ({"mig": {"mode": "enabled", "devices": []}}, "MIG is enabled and no MIG device exists. Remedy: Create one"),
        ({"compute_mode": "prohibited"}, "the compute mode is prohibited. Remedy: Run nvidia-smi --compute-mode"),
    ],
)
def test_a_gpu_that_no_program_can_use_is_missing(host, monkeypatch, clock, state, words):
    seen = both()
    seen["gpus"][1].update(state)
    inventories(monkeypatch, clock, seen)
    answer = gpu_wait.wait_for_gpus(host.places, 60)
    assert answer.code == 1 and answer.data["missing"] == [B]
    assert "GPU %s of instance gpu0-1 cannot be used: %s" % (B, words) in answer.lines[0].text


def test_a_gpu_with_faults_that_computes_is_there(host, monkeypatch, clock):
    seen = both()
    seen["gpus"][1]["health"] = {"state": "unusable", "reasons": ["3 uncorrected ECC errors"]}
    inventories(monkeypatch, clock, seen)
    assert gpu_wait.wait_for_gpus(host.places, 60).code == 0


def test_the_reason_of_the_driver_is_said(host, monkeypatch, clock):
    inventories(monkeypatch, clock, NO_DRIVER)
    answer = gpu_wait.wait_for_gpus(host.places, 10)
    assert len(answer.lines) == 2 and "the driver is not loaded" in answer.lines[0].text
    assert "Load it." in answer.lines[0].text


def test_a_restart_long_after_the_boot_waits_for_nothing(host, monkeypatch, clock):
    clock["up"] = 10**6
    inventories(monkeypatch, clock, first())
    assert gpu_wait.wait_for_gpus(host.places, 60).code == 1 and clock["looks"] == 1


def test_a_library_that_is_missing_is_not_waited_for(host, monkeypatch, clock):
    inventories(monkeypatch, clock, {"state": "no_binding", "reason": "nvidia-ml-py is missing", "gpus": []})
    assert gpu_wait.wait_for_gpus(host.places, 60).code == 1 and clock["looks"] == 1


def test_before_the_first_plan_nothing_is_waited_for(host):
    host.places.plan_file.unlink()
    assert gpu_wait.wait_for_gpus(host.places, 60).code == 0
