# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the release that is planned for changes in a request: GPUs that it would leave out, slots of a model."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import TWO_4090, plan, wanted


@pytest.mark.parametrize(
    "driver, capability, words",
    [
        ("535.129.03", "8.6", ["driver 550", "535.129.03"]),
        ("560.35.03", "6.1", ["driver 570"]),
        ("580.95.05", "3.7", ["compute capability 5.0"]),
    ],
)
def test_gpus_that_this_ollama_would_leave_out_are_not_planned_with(driver, capability, words):
    inventory = dict(hosts.inventory(hosts.A6000, compute_capability=capability), driver_version=driver)
    result = plan(inventory, wanted("llama3.1-8b"))
    assert all(word in result["models"][0]["reason"] for word in words)
    assert plan(inventory, wanted("llama3.1-8b"), ollama_version="0.24.0")["feasible"] is ("3.7" != capability)
    assert not result["feasible"] and all(word in " ".join(result["warnings"]) for word in words)
    assert plan(
        dict(inventory, driver_version="580.95.05", gpus=hosts.inventory(hosts.A6000)["gpus"]), wanted("llama3.1-8b")
    )["feasible"]


def test_a_model_that_ollama_serves_one_request_at_a_time():
    entry = wanted("qwen3-8b", parallel=4)
    entry["model"] = dict(entry["model"], architecture="qwen3vl")
    result = plan(TWO_4090, entry)
    assert result["instances"][0]["environment"]["OLLAMA_NUM_PARALLEL"] == "1" and any(
        "one request at a time" in warning for warning in result["warnings"]
    )
