# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Experts that stay on the host by choice: cpu_experts."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, TWO_4090, plan, refused, wanted

ONE_4090 = hosts.inventory(hosts.RTX4090)
EXPERTS, DENSE = "qwen3-30b-a3b", "llama3.1-8b"


def only(result):
    """(environment, entry) of the one model of a plan."""
    (instance,) = result["instances"]
    return instance["environment"], instance["models"][0]


def test_the_experts_of_the_first_layers_stay_on_the_host():
    without = only(plan(TWO_4090, wanted(EXPERTS, strategy="single")))[1]["predicted"]
    environment, model = only(plan(TWO_4090, wanted(EXPERTS, strategy="single", cpu_experts="10")))
    assert environment["LLAMA_ARG_N_CPU_MOE"] == "10" and "LLAMA_ARG_CPU_MOE" not in environment
    assert model["cpu_experts"] == 10 and model["parameters"]["num_gpu"] == 999
    moved = sum(layer["expert_bytes"] for layer in wanted(EXPERTS)["model"]["layers"][:10])
    predicted = model["predicted"]
    assert predicted["gpu_layers"] == predicted["total_layers"] and not predicted["fully_on_gpu"]
    assert predicted["devices"][0]["weight_bytes"] == without["devices"][0]["weight_bytes"] - moved
    assert predicted["host_bytes"] == without["host_bytes"] + moved


def test_all_experts_on_the_host_let_a_model_fit_a_small_gpu():
    small = hosts.inventory((8192, 7900))
    assert not plan(small, wanted(EXPERTS))["feasible"]
    result = plan(small, wanted(EXPERTS, cpu_experts="all"))
    environment, model = only(result)
    assert environment["LLAMA_ARG_CPU_MOE"] == "1" and "LLAMA_ARG_N_CPU_MOE" not in environment
    assert model["predicted"]["devices"][0]["total_bytes"] < 7 * GIB
    assert any("the experts of 48 of its 48 layers, as cpu_experts asks" in note for note in result["warnings"])


def test_as_few_experts_as_will_do_are_a_remedy():
    (model,) = plan(hosts.inventory((16380, 15900)), wanted(EXPERTS))["models"]
    (remedy,) = [one for one in model["remedies"] if one.startswith("cpu_experts: ")]
    count = int(remedy.split(" ")[1])
    assert 0 < count < 48
    for number, fits in ((count, True), (count - 1, False)):
        assert plan(hosts.inventory((16380, 15900)), wanted(EXPERTS, cpu_experts=str(number)))["feasible"] is fits
    (dense,) = plan(hosts.inventory((4096, 3900)), wanted(DENSE))["models"]
    assert not [one for one in dense["remedies"] if one.startswith("cpu_experts")]


def test_they_count_against_the_hosts_memory():
    memory = {"total_bytes": 8 * GIB, "available_bytes": 7 * GIB, "swap_free_bytes": 0, "units": []}
    (model,) = plan(dict(ONE_4090, host_memory=memory), wanted(EXPERTS, cpu_experts="all"))["models"]
    assert "of the host's memory" in model["reason"]
    large = dict(memory, total_bytes=64 * GIB, available_bytes=60 * GIB)
    result = plan(dict(ONE_4090, host_memory=large), wanted(EXPERTS, cpu_experts="all"))
    assert result["host_memory"]["planned_bytes"] > 15 * GIB


def test_a_split_with_experts_on_the_host_fits_every_gpu():
    environment, model = only(plan(TWO_4090, wanted(EXPERTS, strategy="split", cpu_experts="24")))
    devices = model["predicted"]["devices"]
    assert len(devices) == 2 and all(device["layers"] for device in devices)
    assert environment["LLAMA_ARG_N_CPU_MOE"] == "24" and environment["OLLAMA_SCHED_SPREAD"] == "1"


def test_models_with_other_experts_on_the_host_have_instances_of_their_own():
    result = plan(TWO_4090, wanted(EXPERTS, cpu_experts="all", strategy="single"), wanted(DENSE, strategy="single"))
    by_model = {one["models"][0]["name"]: one["environment"] for one in result["instances"]}
    assert len(by_model) == 2
    assert [name for name, environment in by_model.items() if "LLAMA_ARG_CPU_MOE" in environment] == [
        wanted(EXPERTS)["name"]
    ]


@pytest.mark.parametrize(
    "name, settings, version, words",
    [
        (DENSE, {"cpu_experts": "all"}, "0.32.15", "the model has no experts (architecture llama)"),
        (EXPERTS, {"cpu_experts": "49"}, "0.32.15", "the model has 48 layers"),
        (EXPERTS, {"cpu_experts": "some"}, "0.32.15", "cpu_experts of"),
        (EXPERTS, {"cpu_experts": "-1"}, "0.32.15", "cpu_experts of"),
        (EXPERTS, {"cpu_experts": "all", "allow_cpu_offload": True}, "0.32.15", "does not go with allow_cpu_offload"),
        (EXPERTS, {"cpu_experts": "all", "parameters": {"num_gpu": 20}}, "0.32.15", "moved; leave num_gpu out."),
        (EXPERTS, {"cpu_experts": "all"}, "0.24.0", "needs Ollama 0.30 or later"),
    ],
)
def test_what_cannot_be_is_refused(name, settings, version, words):
    assert words in refused(models=[wanted(name, **settings)], ollama_version=version)


def test_the_engines_variables_stay_the_plans():
    for name in ("LLAMA_ARG_CPU_MOE", "LLAMA_ARG_N_CPU_MOE"):
        assert "is what cpu_experts of a model sets" in refused(environment={name: "1"})


def test_nothing_is_moved_where_nothing_is_asked_for():
    for asked in (None, "", "0", 0):
        environment, model = only(plan(TWO_4090, wanted(EXPERTS, strategy="single", cpu_experts=asked)))
        assert model["cpu_experts"] is None and model["predicted"]["fully_on_gpu"]
        assert not [name for name in environment if "MOE" in name]


@pytest.mark.parametrize("asked", ["all", "40"])
def test_fewer_experts_on_the_host_or_none_are_a_remedy_where_it_is_too_small(asked):
    memory = {"total_bytes": 8 * GIB, "available_bytes": 7 * GIB, "swap_free_bytes": 0, "units": []}
    (model,) = plan(dict(ONE_4090, host_memory=memory), wanted(EXPERTS, cpu_experts=asked))["models"]
    assert model["remedies"][0] == "cpu_experts: without it the model fits on the GPUs, and is faster"
    small = dict(hosts.inventory((16380, 15900)), host_memory=memory)
    (model,) = plan(small, wanted(EXPERTS, cpu_experts=asked))["models"]
    (remedy,) = [one for one in model["remedies"] if one.startswith("cpu_experts: ")]
    count = int(remedy.split(" ")[1])
    assert remedy == "cpu_experts: %d fits, and is faster" % count
    for number, fits in ((count, True), (count + 1, False)):
        assert plan(small, wanted(EXPERTS, cpu_experts=str(number)))["feasible"] is fits
    tiny = dict(hosts.inventory((2048, 1900)), host_memory=memory)
    (model,) = plan(tiny, wanted(EXPERTS, cpu_experts=asked))["models"]
    assert not [one for one in model["remedies"] if one.startswith("cpu_experts: ")]
