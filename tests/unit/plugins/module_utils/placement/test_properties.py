# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What holds for every host and every set of models."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement import plan as plan_room
from tests.oracle import hosts, models

from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, held, outline, plan, sized


@pytest.fixture(autouse=True, scope="module")
def _without_remedies():
    """What would help is tested elsewhere, and takes most of the time where a model does not fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_room.remedies, "remedies", lambda case: [])
        yield


QUICK = hypothesis.settings(deadline=None, max_examples=25)
# Total and taken MiB of each GPU.
GPUS = st.lists(st.tuples(st.sampled_from([8192, 12288, 24564, 49140]), st.integers(0, 6000)), min_size=1, max_size=4)
SETTINGS = st.fixed_dictionaries({
    "gib": st.sampled_from([0.5, 3, 7, 11, 18, 26, 40]) | st.floats(0.2, 50),
    "context_length": st.sampled_from([2048, 8192, 32768, 100000]),
    "strategy": st.sampled_from(["auto", "auto", "single", "split", "spread"]),
    "parallel": st.sampled_from([1, 1, 2, 4]),
    "kv_cache_type": st.sampled_from([None, "q8_0"]),
    "headroom_bytes": st.sampled_from([0, 300 * MIB, GIB, 3 * GIB]),
})
MODELS = st.lists(SETTINGS, min_size=1, max_size=3)


def host_of(gpus):
    return hosts.inventory(*[(total, total - taken) for total, taken in gpus])


def entries(listed):
    return [sized("model%d" % number, **settings_) for number, settings_ in enumerate(listed)]


@QUICK
@given(GPUS, MODELS)
def test_a_plan_never_puts_more_on_a_gpu_than_it_has_and_every_layer_on_one(gpus, listed):
    inventory = host_of(gpus)
    result = plan(inventory, *entries(listed))
    free = {gpu["uuid"]: gpu["memory"]["free_bytes"] for gpu in inventory["gpus"]}
    asked = {}
    for instance in result["instances"]:
        for model in instance["models"]:
            predicted = model["predicted"]
            assert sum(device["layers"] for device in predicted["devices"]) == predicted["total_layers"] == 7
            assert predicted["gpu_layers"] == 7 and all(device["layers"] for device in predicted["devices"])
            assert [device["uuid"] for device in predicted["devices"]] == instance["gpu_uuids"]
            for device in predicted["devices"]:
                asked[device["uuid"]] = max(asked.get(device["uuid"], 0), predicted["headroom_bytes"])
    for uuid, size in held(result).items():
        assert size + asked[uuid] <= free[uuid]
    if result["feasible"]:
        served = [model["create_as"] for instance in result["instances"] for model in instance["models"]]
        assert {name.split(":")[0] for name in served} == {"model%d" % number for number in range(len(listed))}


@QUICK
@given(GPUS, MODELS, st.integers(0, 3), st.integers(1, 6000))
def test_more_memory_never_makes_a_feasible_plan_infeasible(gpus, listed, index, more):
    if not plan(host_of(gpus), *entries(listed))["feasible"]:
        return
    index %= len(gpus)
    total, taken = gpus[index]
    assert plan(host_of(gpus[:index] + [(total, max(0, taken - more))] + gpus[index + 1:]), *entries(listed))["feasible"]
    assert plan(host_of(gpus[:index] + [(total + more, taken)] + gpus[index + 1:]), *entries(listed))["feasible"]


@QUICK
@given(GPUS, MODELS, st.tuples(st.sampled_from([8192, 24564]), st.integers(0, 3000)))
def test_another_gpu_never_makes_a_feasible_plan_infeasible(gpus, listed, another):
    listed = [dict(settings_, strategy="auto") for settings_ in listed]  # spread must use the new GPU, too
    if plan(host_of(gpus), *entries(listed))["feasible"]:
        assert plan(host_of(gpus + [another]), *entries(listed))["feasible"]


@QUICK
@given(GPUS, MODELS, st.permutations(range(4)))
def test_permuting_the_gpus_permutes_the_plan(gpus, listed, order):
    inventory = host_of(gpus)
    shuffled = [inventory["gpus"][place] for place in order if place < len(gpus)]
    assert plan(dict(inventory, gpus=shuffled), *entries(listed)) == plan(inventory, *entries(listed))


@QUICK
@given(GPUS, MODELS, st.permutations([0, 1, 2]))
def test_the_order_of_the_models_changes_nothing(gpus, listed, order):
    given_ = entries(listed)
    turned = [given_[place] for place in order if place < len(given_)]
    assert sorted(outline(plan(host_of(gpus), *turned))) == sorted(outline(plan(host_of(gpus), *given_)))


@QUICK
@given(GPUS, MODELS)
def test_the_plan_is_the_same_once_it_is_running(gpus, listed):
    inventory = host_of(gpus)
    before = plan(inventory, *entries(listed))
    if not before["feasible"]:
        return
    after = plan(hosts.loaded(inventory, before), *entries(listed), applied_plan=before)
    assert [(item["name"], item["port"], item["environment"]) for item in after["instances"]] == [
        (item["name"], item["port"], item["environment"]) for item in before["instances"]
    ]
    assert outline(after) == outline(before)


@QUICK
@given(st.sampled_from(["llama4-scout", "llama3.1-8b", "gpt-oss-20b", "gemma3-27b", "qwen3-0.6b"]), st.integers(1, 131072), st.integers(1, 60000),
       st.sampled_from([1, 2, 4]), st.sampled_from([[1], [1, 1], [3, 1]]), st.sampled_from(["f16", "q8_0"]))
def test_predicted_bytes_never_decrease_with_the_context(name, context, more, parallel, shares, cache_type):
    def bytes_at(tokens):
        found = estimate.estimate(models.model(name), shares, tokens, parallel, 512, cache_type)
        return [sum(device[key] for key in ("weight_bytes", "kv_bytes", "compute_bytes")) for device in found["devices"]]

    assert all(less <= greater for less, greater in zip(bytes_at(context), bytes_at(context + more)))
