# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module placement_info: options in, plan out, nothing changed."""

from __future__ import annotations

import yaml
from ansible_collections.gpufleet.ollama.plugins.modules import placement_info

from tests.oracle import hosts, models
from tests.unit.plugins.modules.run_module import run_module

ARGUMENTS = {
    "gpu_inventory": hosts.inventory(hosts.A6000, hosts.A6000),
    "ollama_version": "0.32.15",
    "models": [{"name": "llama4:16x17b", "model": models.model("llama4-scout"), "context_length": 32768}],
}


def test_a_plan_in_check_mode_and_without():
    result = run_module("placement_info", ARGUMENTS, check=True)
    assert result["changed"] is False and result["placement"]["feasible"]
    model = result["placement"]["instances"][0]["models"][0]
    assert [device["layers"] for device in model["predicted"]["devices"]] == [25, 24] and model["keep_alive"] == -1
    assert run_module("placement_info", ARGUMENTS) == result


def test_wrong_input_fails_with_a_sentence():
    wrong = dict(ARGUMENTS, models=[dict(ARGUMENTS["models"][0], parameters={"num_gpu": 2})])
    result = run_module("placement_info", wrong)
    assert result["failed"] and "number of layers, not of GPUs" in result["msg"]


def test_an_infeasible_plan_is_an_answer_and_not_a_failure():
    small = dict(ARGUMENTS, gpu_inventory=hosts.inventory(hosts.RTX4090))
    result = run_module("placement_info", small)
    assert not result.get("failed") and not result["placement"]["feasible"]
    assert result["placement"]["models"][0]["shortfall_bytes"] > 0


def test_documentation_and_options_agree():
    documented = yaml.safe_load(placement_info.DOCUMENTATION)["options"]
    spec = placement_info.argument_spec()
    assert set(documented) == set(spec)
    assert set(documented["models"]["suboptions"]) == set(spec["models"]["options"])
    assert set(documented["models"]["suboptions"]["optimized"]["suboptions"]) == set(
        spec["models"]["options"]["optimized"]["options"]
    )
