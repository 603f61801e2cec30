# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models on demand beside resident ones."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, plan, refused, sized

ONE = hosts.inventory(hosts.A6000)
TWO = hosts.inventory(hosts.A6000, hosts.A6000)


def on_demand(name, gib, blocks=6, **settings):
    return sized(name, gib, blocks, resident=False, **settings)


def by_model(result):
    """{name: its instance} of a feasible plan with one instance for each model."""
    assert result["feasible"], [model["reason"] for model in result["models"]]
    return {model["name"]: instance for instance in result["instances"] for model in instance["models"]}


def test_a_model_on_demand_has_an_instance_of_its_own_beside_the_residents():
    instances = by_model(plan(ONE, sized("r", 20), on_demand("d", 15)))
    resident, other = instances["r"], instances["d"]
    assert resident["name"] != other["name"] and resident["gpu_uuids"] == other["gpu_uuids"]
    assert other["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "1"
    assert other["environment"]["OLLAMA_KEEP_ALIVE"] == "300"
    assert resident["environment"]["OLLAMA_KEEP_ALIVE"] == "-1"
    assert [(one["models"][0]["resident"], one["models"][0]["keep_alive"]) for one in (resident, other)] == [
        (True, -1),
        (False, 300),
    ]


def test_models_on_demand_share_what_the_residents_leave():
    models = [sized("r", 20), on_demand("a", 18), on_demand("b", 16), on_demand("c", 10)]
    instances = by_model(plan(ONE, *models))
    assert instances["a"] is instances["b"] is instances["c"]
    assert instances["a"]["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "1"
    for one in models:
        one["resident"] = True
    assert not plan(ONE, *models)["feasible"], "all of them do not fit at the same time"


def test_a_model_on_demand_that_the_residents_leave_no_room_for_is_refused():
    result = plan(ONE, sized("r", 30), on_demand("d", 20))
    assert not result["feasible"]
    resident, other = result["models"]
    assert resident["shortfall_bytes"] is None and other["shortfall_bytes"] > 0
    assert "does not fit" in other["reason"] and other["remedies"]


def test_models_on_demand_of_other_settings_do_not_share_memory():
    fits = plan(ONE, sized("r", 10), on_demand("a", 12), on_demand("b", 12, kv_cache_type="q8_0"))
    instances = by_model(fits)
    assert len({instance["name"] for instance in instances.values()}) == 3
    assert not plan(ONE, sized("r", 20), on_demand("a", 14), on_demand("b", 14, kv_cache_type="q8_0"))["feasible"]
    assert plan(ONE, sized("r", 20), on_demand("a", 14), on_demand("b", 14))["feasible"]


def test_residents_do_not_depend_on_what_is_loaded_beside_them():
    """The batch and the layers of models that share GPUs are set by the plan, whichever is loaded first."""
    result = plan(TWO, sized("r", 60, strategy="split"), on_demand("d", 8))
    resident = by_model(result)["r"]
    assert "LLAMA_ARG_TENSOR_SPLIT" in resident["environment"]
    assert resident["models"][0]["parameters"]["num_batch"] == resident["models"][0]["predicted"]["ubatch"]


def test_a_resident_model_is_not_replicated_over_the_memory_of_those_on_demand():
    result = plan(TWO, sized("r", 30), on_demand("d", 30))
    instances = by_model(result)
    assert len(result["instances"]) == 2 and instances["r"]["gpu_uuids"] != instances["d"]["gpu_uuids"]
    assert len(plan(TWO, sized("r", 30))["instances"]) == 2, "alone it is"


def test_the_largest_context_of_a_resident_leaves_the_others_their_memory():
    result = plan(ONE, sized("r", 20, context_length="auto"), on_demand("d", 15))
    instances = by_model(result)
    held = sum(one["models"][0]["predicted"]["devices"][0]["total_bytes"] for one in instances.values())
    assert held + GIB <= result["gpus"][0]["available_bytes"]
    alone = plan(ONE, sized("r", 20, context_length="auto"))["instances"][0]["models"][0]["context_length"]
    assert 8192 <= instances["r"]["models"][0]["context_length"] <= alone


def test_a_host_with_models_on_demand_only():
    instances = by_model(plan(ONE, on_demand("a", 30), on_demand("b", 25)))
    assert instances["a"] is instances["b"] and instances["a"]["name"] == "gpu0"


def test_a_context_that_grows_takes_what_is_left():
    result = plan(ONE, sized("r", 20), on_demand("d", 10, context_length="auto"))
    assert by_model(result)["d"]["models"][0]["context_length"] > 8192


def test_models_on_demand_on_the_cpu_count_against_the_hosts_memory():
    memory = {"total_bytes": 32 * GIB, "available_bytes": 30 * GIB, "swap_free_bytes": 0, "units": []}
    none = {"state": "no_devices", "reason": "no GPU", "remedy": None, "gpus": [], "no_gpu_present": True}
    models = [sized("r", 10, allow_cpu_offload=True), on_demand("d", 12, allow_cpu_offload=True)]
    result = plan(dict(none, host_memory=memory), *models)
    assert len({instance["name"] for instance in by_model(result).values()}) == 2
    assert result["host_memory"]["planned_bytes"] > 22 * GIB
    models[1] = on_demand("d", 25, allow_cpu_offload=True)
    assert not plan(dict(none, host_memory=memory), *models)["feasible"]


def test_the_plan_stays_the_same_whatever_is_loaded():
    models = [sized("r", 20), on_demand("a", 15), on_demand("b", 12)]
    before = plan(TWO, *models)
    everything = {
        **before,
        "instances": [dict(instance, models=instance["models"][:1]) for instance in before["instances"]],
    }
    loaded = hosts.loaded(TWO, everything)
    assert plan(loaded, *models, applied_plan=before)["instances"] == before["instances"]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"replicas": 2}, "a model on demand has one instance"),
        ({"strategy": "replicate"}, "a model on demand has one instance"),
        ({"keep_alive": "-5m"}, "keeps it loaded for ever"),
        ({"resident": "perhaps"}, "resident of"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    assert words in refused(models=[on_demand("d", 4) | settings])


def test_a_duration_of_the_user_counts():
    environment = {"OLLAMA_KEEP_ALIVE": "-1"}
    (instance,) = plan(ONE, on_demand("d", 4, keep_alive="30m"), environment=environment)["instances"]
    assert instance["environment"]["OLLAMA_KEEP_ALIVE"] == "30m"


@pytest.mark.parametrize("resident", [True, False])
def test_models_of_which_one_has_the_name_of_the_other_get_instances_of_their_own(resident):
    """In one instance each run would give the name to the other one of them."""
    models = [sized("x:a", 5, optimized={"suffix": "-b"}), sized("X:a-b", 6, optimized={"suffix": "-c"})]
    for number, one in enumerate(models):
        one.update(resident=resident, model=dict(one["model"], digest="sha256:" + str(number) * 64))
    instances = by_model(plan(ONE, *models))
    assert instances["x:a"]["name"] != instances["X:a-b"]["name"]
    models[1]["name"] = "y"
    instances = by_model(plan(ONE, *models))
    assert instances["x:a"]["name"] == instances["y"]["name"]


def test_a_model_on_demand_with_an_automatic_context_takes_none_of_a_residents():
    """The residents' contexts grow first; the model on demand gets what is left, and no less than it begins with."""
    models = {"r": sized("r", 22, 32, context_length="auto"), "d": on_demand("d", 10, 32, context_length="auto")}
    fixed = on_demand("d", 10, 32, context_length=8192)
    alone = by_model(plan(ONE, models["r"], fixed))["r"]["models"][0]["context_length"]
    both = by_model(plan(ONE, *models.values()))
    contexts = {name: instance["models"][0]["context_length"] for name, instance in both.items()}
    assert 8192 < contexts["r"] == alone < 131072 and 8192 <= contexts["d"] < 12000


def test_models_on_demand_get_a_place_before_one_of_them_grows():
    models = [
        sized("r", 10, 32),
        on_demand("a", 14, 32, context_length="auto"),
        on_demand("b", 8, 32, kv_cache_type="q8_0"),
    ]
    found = by_model(plan(ONE, *models))
    contexts = {name: instance["models"][0]["context_length"] for name, instance in found.items()}
    assert 8192 < contexts["a"] < 131072 and contexts["b"] == 8192
    again = by_model(plan(ONE, *models, applied_plan=plan(ONE, *models)))
    assert again["a"]["models"][0]["context_length"] == contexts["a"]
