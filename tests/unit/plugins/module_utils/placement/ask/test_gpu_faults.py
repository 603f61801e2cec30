# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""When a host gets no plan because of its GPUs. All faults of a driver: tests/unit/plugins/test_broken_drivers.py."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.gpu_faults import gpu_fault
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.left_out import LeftOutGpu

from tests.unit.plugins.module_utils.placement.builders import gpu

BROKEN = {"state": "timeout", "reason": "NVML gave no answer.", "remedy": "Look at dmesg.", "gpus": []}
UNUSABLE = LeftOutGpu("GPU-1", "it is unusable: too many errors")


def serving(*uuids):
    """An applied plan with a model on these GPUs."""
    devices = [{"uuid": uuid, "layers": 1, "total_bytes": 1} for uuid in uuids]
    return {"instances": [{"models": [{"predicted": {"devices": devices}}]}]}


def facts(*uuids, **more):
    return dict({"state": "ok", "gpus": [{"uuid": uuid} for uuid in uuids]}, **more)


def test_facts_that_cannot_be_read_are_a_fault_unless_there_is_surely_no_gpu():
    fault = gpu_fault(BROKEN, None, {}, [], [])
    assert fault.reason == (
        "The GPUs of this host cannot be read (timeout): NVML gave no answer. That does not say that it has none. "
        "Nothing is planned, and what serves now stays as it is."
    )
    assert fault.remedies[0] == "Look at dmesg." and fault.remedies[1].startswith("selectors: []")
    assert gpu_fault(dict(BROKEN, no_gpu_present=True), None, {}, [], []) is None
    assert gpu_fault(BROKEN, [], {}, [], []) is None
    assert gpu_fault(BROKEN, ["0"], {}, [], []).reason == fault.reason


def test_a_gpu_that_serves_and_is_gone_is_a_fault_also_where_none_is_on_the_bus():
    gone = dict(BROKEN, no_gpu_present=True)
    assert "GPU GPU-0 serves models" in gpu_fault(gone, None, serving("GPU-0"), [], []).reason
    assert gpu_fault(gone, [], serving("GPU-0"), [], []) is None


@pytest.mark.parametrize(
    "selectors, is_fault", [(None, True), (["GPU-0"], False), (["0000:01:00.0"], False), (["0"], True), ([], False)]
)
def test_a_gpu_is_given_up_by_identities_not_by_an_index(selectors, is_fault):
    fault = gpu_fault(facts("GPU-0"), selectors, serving("GPU-0", "GPU-1"), [gpu(0)], [])
    assert (fault is not None) == is_fault
    if fault:
        assert "GPU GPU-1" in fault.reason and "GPU GPU-0" not in fault.reason


def test_a_gpu_with_a_fault_stops_a_plan_only_where_it_serves():
    found = facts("GPU-0", "GPU-1")
    assert gpu_fault(found, None, serving("GPU-0"), [gpu(0)], [UNUSABLE]) is None
    assert "too many errors" in gpu_fault(found, None, serving("GPU-1"), [gpu(0)], [UNUSABLE]).reason
    not_selected = LeftOutGpu("GPU-1", "it is unusable", selected=False)
    assert gpu_fault(found, ["GPU-0"], serving("GPU-1"), [gpu(0)], [not_selected]) is None


def test_no_usable_gpu_at_all_is_a_fault_unless_no_work_on_the_host_helps():
    assert gpu_fault(facts("GPU-1"), None, {}, [], [UNUSABLE]).reason.startswith("No usable GPU: GPU GPU-1: it is ")
    too_old = LeftOutGpu("GPU-1", "compute capability 3.5 is too low", lasting=True)
    assert gpu_fault(facts("GPU-1"), None, serving("GPU-1"), [], [too_old]) is None
    assert "do not say surely" in gpu_fault(facts(), None, {}, [], []).reason


def test_a_gpu_that_is_half_read_is_a_fault_where_it_serves():
    half = facts("GPU-0")
    half["gpus"][0]["errors"] = {"processes": {"code": 999, "name": "Unknown Error"}, "temperature": {"code": 999}}
    assert gpu_fault(half, None, {}, [gpu(0)], []) is None
    fault = gpu_fault(half, None, serving("GPU-0"), [gpu(0)], [])
    assert "fails to tell its processes (Unknown Error)" in fault.reason and "temperature" not in fault.reason
