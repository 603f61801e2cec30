# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is in force on the host: a damaged plan, and what is kept of a sound one."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import (
    MIB,
    TWO_4090,
    TWO_A6000,
    outline,
    plan,
    settings_of,
    wanted,
)

DEVICE_WITHOUT_BYTES = {"instances": [{"models": [{"predicted": {"devices": [{"uuid": "x"}]}}]}]}


@pytest.mark.parametrize(
    "applied",
    ["plan", [1], {"gpus": [{}]}, {"instances": ["x"]}, {"instances": {"a": 1}}, {"gpus": 7}, DEVICE_WITHOUT_BYTES],
)
def test_a_damaged_applied_plan_is_as_none_and_said(applied):
    result = plan(TWO_4090, wanted("llama3.1-8b"), applied_plan=applied)
    assert "damaged" in result["warnings"].pop()
    assert (
        result
        == plan(TWO_4090, wanted("llama3.1-8b"), applied_plan={})
        == plan(TWO_4090, wanted("llama3.1-8b"), applied_plan=None)
    )


def test_values_of_an_applied_plan_that_cannot_be_are_passed_over():
    before = plan(TWO_A6000, wanted("llama4-scout"))
    for numbers in (["0", "1"], [0, 0], [-1, -2], [10**6, 10**7], [None, 1.5]):
        odd = dict(before, gpus=[dict(gpu, number=number) for gpu, number in zip(before["gpus"], numbers)])
        assert outline(plan(TWO_A6000, wanted("llama4-scout"), applied_plan=odd)) == outline(before)
    odd = dict(before, instances=[dict(before["instances"][0], port="11500")])
    assert plan(TWO_A6000, wanted("llama4-scout"), applied_plan=odd)["instances"] == before["instances"]


def test_an_applied_plan_of_another_structure_tells_only_whose_memory_it_is():
    before = plan(TWO_A6000, wanted("llama4-scout"))
    moved = [dict(gpu, number=gpu["number"] + 5) for gpu in before["gpus"]]
    for gpus, version, words in (
        (moved, 0, "plan_version 0"),
        ({"x": {"number": 0}}, 2, "plan_version 2"),
        (7, 1, "damaged"),
    ):
        other = dict(before, plan_version=version, gpus=gpus)
        after = plan(hosts.loaded(TWO_A6000, before), wanted("llama4-scout"), applied_plan=other)
        assert after["feasible"] and outline(after) == outline(before) and words in after["warnings"][0]


def test_an_applied_plan_with_a_gpu_that_is_gone():
    three = hosts.inventory(*[hosts.A6000] * 3)
    before = plan(three, wanted("llama4-scout"))
    left = dict(three, gpus=[three["gpus"][0], three["gpus"][2]])
    assert not plan(left, wanted("llama4-scout"), applied_plan=before)["feasible"]
    staying = [gpu["uuid"] for gpu in left["gpus"]]
    after = plan(left, wanted("llama4-scout"), applied_plan=before, selectors=staying)
    assert before["instances"][0]["name"] == "gpu0-1" and after["instances"][0]["name"] == "gpu0-2"


def test_equal_before_and_after_loading_and_with_foreign_memory_another():
    before = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))
    running = hosts.loaded(TWO_A6000, before)
    after = plan(running, wanted("llama4-scout", context_length=32768), applied_plan=before)
    assert outline(after) == outline(before)
    assert [instance["environment"] for instance in after["instances"]] == [
        instance["environment"] for instance in before["instances"]
    ]
    without = plan(running, wanted("llama4-scout", context_length=32768))
    assert not without["feasible"]
    foreign = plan(
        hosts.with_process(running, 0, 10000, "other.service"),
        wanted("llama4-scout", context_length=32768),
        applied_plan=before,
    )
    assert outline(foreign) != outline(before)
    assert any("9.8 GiB" in warning for warning in foreign["warnings"])
    overfull = hosts.with_process(running, 0, 33000, "other.service")
    overfull["gpus"][0]["memory"]["free_bytes"] = 0  # as a driver says whose figures do not add up to the total
    squeezed = plan(overfull, wanted("llama4-scout", context_length=32768), applied_plan=before)
    assert (
        not squeezed["feasible"]
        and squeezed["gpus"][0]["available_bytes"]
        == squeezed["gpus"][0]["total_bytes"] - squeezed["gpus"][0]["foreign_bytes"]
    )
    adopted = plan(
        hosts.with_process(TWO_A6000, 0, 40000, "ollama.service"), wanted("llama4-scout"), own_units=["ollama.service"]
    )
    assert adopted["feasible"]


def test_a_small_change_in_free_memory_does_not_move_a_model():
    before = plan(TWO_A6000, wanted("qwen3-32b"), wanted("qwen3-14b"))
    shifted = hosts.inventory((49140, 47900), hosts.A6000)
    assert outline(plan(shifted, wanted("qwen3-32b"), wanted("qwen3-14b"), applied_plan=before)) == outline(before)
    assert outline(plan(shifted, wanted("qwen3-32b"), wanted("qwen3-14b"))) != outline(before)
    taken = hosts.inventory((49140, 30000), hosts.A6000)
    assert outline(plan(taken, wanted("qwen3-32b"), wanted("qwen3-14b"), applied_plan=before)) != outline(before)


def test_a_split_stays_on_its_gpus_while_they_hold_it():
    four = hosts.inventory(hosts.RTX4090, hosts.RTX4090, hosts.RTX4090, hosts.RTX4090)
    before = plan(four, wanted("llama3.3-70b"))
    assert before["instances"][0]["name"] == "gpu0-1"
    shifted = hosts.inventory((24564, 24000), (24564, 24000), hosts.RTX4090, hosts.RTX4090)
    assert plan(shifted, wanted("llama3.3-70b"), applied_plan=before)["instances"][0]["name"] == "gpu0-1"
    assert plan(shifted, wanted("llama3.3-70b"))["instances"][0]["name"] == "gpu2-3"


def shifted(inventory, *mib):
    """The same host with these MiB less (or more) free on each GPU."""
    gpus = [
        dict(gpu, memory=dict(gpu["memory"], free_bytes=gpu["memory"]["free_bytes"] - size * MIB))
        for gpu, size in zip(inventory["gpus"], mib)
    ]
    return dict(inventory, gpus=gpus)


@pytest.mark.parametrize("change", [(0, 150), (150, 0), (200, 200), (-150, 0), (-200, -200)])
@pytest.mark.parametrize("context", [32768, "auto"])
def test_a_small_change_of_the_free_memory_changes_nothing_that_runs(change, context):
    entries = [wanted("llama4-scout", context_length=context)]
    before = plan(TWO_A6000, *entries)
    after = plan(shifted(hosts.loaded(TWO_A6000, before), *change), *entries, applied_plan=before)
    assert settings_of(after) == settings_of(before)
    if context == "auto" and change[1] > 0:  # the GPU that the context filled
        assert any("stays where it runs" in warning for warning in after["warnings"])


def test_a_large_change_does():
    entries = [wanted("llama4-scout", context_length="auto")]
    before = plan(TWO_A6000, *entries)
    after = plan(shifted(hosts.loaded(TWO_A6000, before), 3000, 3000), *entries, applied_plan=before)
    assert after["instances"][0]["models"][0]["context_length"] < before["instances"][0]["models"][0]["context_length"]
