# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why a model is where it is, or has no place."""

from __future__ import annotations

from tests.unit.plugins.module_utils.placement.builders import plan, wanted


def test_without_a_gpu():
    none = {
        "state": "driver_not_loaded",
        "reason": "the driver is not loaded",
        "remedy": "Load the kernel module nvidia.",
        "gpus": [],
        "no_gpu_present": True,
    }
    result = plan(none, wanted("llama3.1-8b"))
    assert not result["feasible"] and "the driver is not loaded" in result["models"][0]["reason"]
    assert result["models"][0]["remedies"][0] == none["remedy"]
    result = plan(none, wanted("llama3.1-8b", allow_cpu_offload=True))
    instance = result["instances"][0]
    assert (
        instance["name"] == "cpu"
        and instance["environment"]["CUDA_VISIBLE_DEVICES"] == "-1"
        and instance["gpu_uuids"] == []
    )
    assert (
        instance["models"][0]["expected"] == {"outcome": "cpu"} and "num_gpu" not in instance["models"][0]["parameters"]
    )
    assert instance["models"][0]["predicted"]["devices"] == []
