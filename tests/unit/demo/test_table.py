# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The table at the end of the demo."""

from __future__ import annotations

from tests.demo.table import table

MIB = 1024**2


def evidence(verdict="pass", checks=(), devices=None, layers=(33, 33)):
    devices = (
        devices
        if devices is not None
        else [
            {"uuid": "GPU-a", "predicted_bytes": 5000 * MIB, "engine_bytes": 4900 * MIB, "observed_bytes": 4950 * MIB}
        ]
    )
    model = {
        "name": "tiny",
        "checks": list(checks),
        "layers_offloaded": layers[0],
        "layers_total": layers[1],
        "verdict": verdict,
        "devices": [dict({"layers": layers[0]}, **device) for device in devices],
    }
    return {"host": "b", "verdict": verdict, "instances": [{"name": "gpu0", "models": [model]}]}


def cells(text):
    return [line.split() for line in text.splitlines()]


def test_one_line_for_each_host_model_and_gpu():
    devices = [
        {"uuid": uuid, "predicted_bytes": 5000 * MIB, "engine_bytes": 4900 * MIB, "observed_bytes": 4950 * MIB}
        for uuid in ("GPU-a", "GPU-b")
    ]
    head, first, second = cells(table([evidence(devices=devices)]))
    assert head == ["host", "model", "instance", "GPU", "predicted", "engine", "observed", "layers", "verdict"]
    assert first == ["b", "tiny", "gpu0", "GPU-a", "5000", "4900", "4950", "33/33", "pass"]
    assert second[3] == "GPU-b"


def test_each_gpu_has_its_own_layers_and_the_cpu_none():
    device = {"predicted_bytes": 0, "engine_bytes": 0, "observed_bytes": 0}
    split = [dict(device, uuid="GPU-a", layers=25), dict(device, uuid="GPU-b", layers=24)]
    lines = cells(table([evidence(devices=split, layers=(49, 49))]))
    assert [line[7] for line in lines[1:]] == ["25/49", "24/49"]
    assert cells(table([evidence(devices=[], layers=(0, 9))]))[1][3:] == ["CPU", "-", "-", "-", "0/9", "pass"]


def test_what_is_not_proven_is_no_pass():
    assert cells(table([evidence("unproven")]))[1][-1] == "unproven"


def test_what_is_unknown_is_not_a_number():
    devices = [{"uuid": "GPU-a", "predicted_bytes": 0, "engine_bytes": None, "observed_bytes": None}]
    assert cells(table([evidence(devices=devices, layers=(None, None))]))[1][4:] == ["0", "-", "-", "-/-", "pass"]


def test_a_failed_check_is_named():
    checks = [
        {"name": "loaded", "passed": True},
        {"name": "layers", "passed": False},
        {"name": "utilization", "passed": None},
    ]
    assert table([evidence("fail", checks)]).splitlines()[1].endswith("FAIL: layers")


def test_a_model_without_a_gpu_still_has_its_line():
    assert len(table([evidence(devices=[])]).splitlines()) == 2


def test_a_fail_without_a_failed_check_is_no_pass():
    """A host that failed without a failed check must not be shown as passed."""
    assert cells(table([evidence("fail")]))[1][-1] == "FAIL"
