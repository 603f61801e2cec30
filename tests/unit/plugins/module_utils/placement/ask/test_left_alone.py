# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""cordon and exclude: which GPUs a plan leaves alone, why, until when, and what becomes of what runs there."""

from __future__ import annotations

import copy
import datetime
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import left_alone
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell import written

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import TWO_4090, outline, plan, refused, sized, wanted

NOW = "2026-11-28T22:30:00+00:00"
FIRST, SECOND = (gpu["uuid"] for gpu in TWO_4090["gpus"])
ELSEWHERE = "GPU-99999999-1111-2222-3333-444444444444"
MODEL = sized("m", 5, strategy="single")


def planned(*cordon, inventory=TWO_4090, **options):
    return plan(inventory, options.pop("model", MODEL), cordon=list(cordon), now=NOW, **options)


def used(result):
    return sorted({uuid for instance in result["instances"] for uuid in instance["gpu_uuids"]})


@pytest.mark.parametrize("gpu", ["0", 0, FIRST, FIRST.upper(), "0000:01:00.0", "00000000:01:00.0"])
def test_a_cordoned_gpu_is_left_alone_and_the_plan_says_why_and_until_when(gpu):
    result = planned({"gpu": gpu, "reason": "fan at\n100 %.", "until": "2026-12-31"})
    assert used(result) == [SECOND] and [entry["uuid"] for entry in result["gpus"]] == [SECOND]
    (out,) = result["left_out"]
    assert (out["uuid"], out["index"], out["cause"], out["until"]) == (FIRST, 0, "cordon", "2026-12-31")
    assert out["reason"] == "it is cordoned until the end of 2026-12-31 (fan at 100 %)"
    assert not any("cordon" in warning for warning in result["warnings"]) and result["without_effect"] == []


def test_what_runs_on_a_gpu_moves_when_it_is_cordoned_and_stays_there_afterwards():
    before = planned()
    assert used(before) == [FIRST]
    running = hosts.loaded(TWO_4090, before)
    moved = planned({"gpu": FIRST}, inventory=running, applied_plan=before)
    assert used(moved) == [SECOND] and moved["steps_down"] == []
    applied = json.loads(json.dumps(written.as_written(moved)))
    assert outline(planned({"gpu": FIRST}, inventory=hosts.loaded(TWO_4090, moved), applied_plan=applied)) == outline(
        moved
    )
    (ended,) = [planned({"gpu": FIRST, "until": "2026-11-27", "reason": "fan"}, applied_plan=applied)]
    assert used(ended) == [SECOND] and [gpu["number"] for gpu in ended["gpus"]] == [0, 1]
    assert ended["without_effect"] == [sentence for sentence in ended["warnings"] if "cordon" in sentence]
    assert ended["without_effect"] == [
        "The cordon of GPU 0 (%s) is over: it was to last until the end of 2026-11-27 (fan), and the plan may use the "
        "GPU again; remove the entry." % FIRST
    ]
    for one in [*applied["gpus"], *applied["left_out"]]:
        one["number"] += 4
    (said,) = planned({"gpu": FIRST, "until": "2026-11-27"}, applied_plan=applied)["without_effect"]
    assert said.startswith("The cordon of GPU 4 ("), "the number that the plan gave it, not the index of NVML"


@pytest.mark.parametrize(
    "until, over",
    [
        ("2026-11-27", True),
        ("2026-11-28", False),
        (datetime.date(2026, 11, 28), False),
        ("2026-11-28T22:30", True),
        ("2026-11-28T22:31", False),
        ("2026-11-28T23:00+01:00", True),
        ("2026-11-28T22:00-01:00", False),
        ("", False),
        (None, False),
    ],
)
def test_an_end_is_compared_with_the_time_that_is_given(until, over):
    result = planned({"gpu": FIRST, "until": until})
    assert (result["left_out"] == []) == over == bool(result["without_effect"])


def test_a_fleet_has_one_list():
    """UUIDs and addresses of other hosts are noted, and not written to the host: its plan must not change by them."""
    result = planned({"gpu": ELSEWHERE}, {"gpu": "0000:c1:00.0", "reason": "x"}, exclude=[ELSEWHERE])
    assert result["left_out"] == [] and len(result["without_effect"]) == 3
    assert result["without_effect"][0] == ("The cordon of %s has no effect, as no GPU of this host has it." % ELSEWHERE)
    assert written.as_written(result) == written.as_written(planned())
    assert planned({"gpu": ELSEWHERE, "until": "2020-01-01"}, {"gpu": 7, "until": "2020-01-01"}) == planned()


def test_an_index_that_is_not_there_is_refused_unless_the_gpus_cannot_be_read():
    message = refused(cordon=[{"gpu": 2}], now=NOW)
    assert message.startswith("cordon names the GPU with index 2, which this host does not have; use the index, UUID")
    assert refused(exclude=["2"]).startswith("exclude names the GPU with index 2")
    broken = {"state": "timeout", "reason": "NVML gave no answer", "gpus": []}
    result = planned({"gpu": 2}, inventory=broken)
    assert not result["feasible"] and "cannot be read (timeout)" in result["models"][0]["reason"]
    assert result["without_effect"] == []
    assert "index 2" in refused(cordon=[{"gpu": 2}], inventory=dict(broken, no_gpu_present=True))


def test_an_index_keeps_meaning_the_gpu_that_it_meant():
    """The driver counts anew when a GPU is gone."""
    three = hosts.inventory(*[hosts.RTX4090] * 3)
    applied = written.as_written(planned({"gpu": 1}, inventory=three))
    assert planned({"gpu": 1}, inventory=three, applied_plan=applied)["feasible"]
    fewer = copy.deepcopy(three)
    del fewer["gpus"][1]
    fewer["gpus"][1]["index"] = 1
    with pytest.raises(PlacementError, match="index 1. When the plan was applied, that was GPU-00000002.*GPU-00000003"):
        planned({"gpu": 1}, inventory=fewer, applied_plan=applied)
    assert used(planned({"gpu": SECOND}, inventory=fewer, applied_plan=applied))
    other = written.as_written(plan(three, MODEL, exclude=["1"]))
    with pytest.raises(PlacementError, match="exclude names the GPU with index 1"):
        plan(fewer, MODEL, exclude=["1"], applied_plan=other)


@pytest.mark.parametrize("gpu, given_up", [(SECOND, True), ("0000:02:00.0", True), (ELSEWHERE, False)])
@pytest.mark.parametrize("option", ["cordon", "exclude"])
def test_a_gpu_that_serves_and_is_gone_is_given_up_by_name(gpu, given_up, option):
    before = plan(TWO_4090, wanted("llama3.1-8b", strategy="replicate"))
    gone = dict(TWO_4090, gpus=TWO_4090["gpus"][:1])
    given = [{"gpu": gpu}] if option == "cordon" else [gpu]
    after = plan(gone, wanted("llama3.1-8b"), applied_plan=before, **{option: given})
    assert after["feasible"] is given_up
    if given_up:
        assert used(after) == [FIRST] and after["steps_down"]
    else:
        assert "serves models by the applied plan" in after["models"][0]["reason"]
        assert "an entry with its UUID in cordon or exclude" in after["models"][0]["remedies"][1]


def test_a_gpu_with_a_fault_is_given_up_by_a_cordon():
    before = planned(inventory=TWO_4090)
    broken = copy.deepcopy(TWO_4090)
    broken["gpus"][0]["health"] = {"state": "unusable", "reasons": ["row remapping failed"]}
    assert not planned(inventory=broken, applied_plan=before)["feasible"]
    result = planned({"gpu": "0"}, inventory=broken, applied_plan=before)
    assert used(result) == [SECOND] and result["left_out"][0]["cause"] == "cordon"


def test_exclude_has_precedence_over_selectors_and_the_longer_cordon_over_the_shorter():
    result = plan(TWO_4090, MODEL, selectors=["0", "1"], exclude="0, 1".split(", ")[:1])
    assert used(result) == [SECOND] and result["left_out"][0]["reason"] == "it is excluded"
    assert used(plan(TWO_4090, MODEL, exclude=0)) == used(plan(TWO_4090, MODEL, exclude="0")) == [SECOND]
    both = planned(
        {"gpu": 0, "until": "2026-12-01"},
        {"gpu": FIRST, "until": "2026-12-24 12:00"},
        {"gpu": "0", "until": "2026-11-30"},
    )
    assert both["left_out"][0]["until"] == "2026-12-24T12:00:00"
    over = planned({"gpu": 0, "until": "2020-12-01"}, {"gpu": FIRST})
    assert over["left_out"][0]["until"] is None and over["without_effect"] == []
    assert planned({"gpu": 0, "until": "2026-12-24"}, exclude=["0"])["left_out"][0]["cause"] == "exclude"


def test_all_gpus_left_alone():
    result = planned({"gpu": 0, "reason": "one"}, {"gpu": 1, "reason": "two"})
    assert not result["feasible"] and result["models"][0]["reason"] == (
        "No usable GPU: GPU %s is left out: it is cordoned (one), GPU %s is left out: it is cordoned (two)."
        % (FIRST, SECOND)
    )
    assert (
        result["models"][0]["remedies"][0] == "cordon: GPU 0 (%s): it is cordoned (one); with it the model fits" % FIRST
    )


def test_a_part_of_a_gpu():
    inventory = hosts.inventory(hosts.A6000, hosts.A6000)
    slices = [
        {"uuid": "MIG-%d" % number, "name": "half", "memory": {"total_bytes": 24 << 30, "free_bytes": 23 << 30}}
        for number in (1, 2)
    ]
    inventory["gpus"][0]["mig"] = {"mode": "enabled", "devices": slices}
    of_one = plan(inventory, sized("m", 5, strategy="replicate"), exclude=["MIG-1"])
    assert "MIG-1" not in used(of_one) and "MIG-2" in used(of_one)
    of_all = plan(inventory, sized("m", 5, strategy="replicate"), exclude=["0"])
    assert used(of_all) == [inventory["gpus"][1]["uuid"]] and len(of_all["left_out"]) == 2


@pytest.mark.parametrize(
    "cordon, exclude, words",
    [
        ("GPU-1", None, "cordon is 'GPU-1', which is not a list: give for example"),
        ({"gpu": "GPU-1"}, None, "which is not a list"),
        (["GPU-1"], None, "Entry 1 of cordon is 'GPU-1': write it as {gpu: GPU-1}."),
        ([{}], None, "Entry 1 of cordon has no gpu: give one."),
        (
            [{"gpu": "GPU-1"}, {"gpus": 1, "gpu": 0}],
            None,
            "Entry 2 of cordon has the unknown key gpus: did you mean gpu?",
        ),
        ([{"gpu": 0, "reason": 5}], None, "reason of entry 1 of cordon is 5: give a text"),
        ([{"gpu": 0, "until": "soon"}], None, "until of entry 1 of cordon is 'soon', which is no date"),
        ([{"gpu": 60.0}], None, "gpu of entry 1 of cordon is '60.0', which names no GPU: put a PCI address in quotes"),
        (None, ["all"], "Entry 1 of exclude is 'all', which names no GPU"),
        (None, {"a": 1}, "exclude is {'a': 1}, which is not a list"),
        (None, True, "exclude is True, which is not a list"),
    ],
)
def test_what_cannot_be_is_refused_in_words(cordon, exclude, words):
    with pytest.raises(PlacementError) as caught:
        left_alone.check_lists(cordon, exclude)
    assert words in str(caught.value) and str(caught.value).endswith((".", "?"))
    assert words in refused(cordon=cordon, exclude=exclude, now=NOW)


def test_a_uuid_that_is_cut_off_is_refused_on_its_host():
    assert "the beginning of %s; give the whole UUID" % FIRST in refused(exclude=[FIRST[:12]])


@pytest.mark.parametrize("now", [None, "", "today", "2026-11-28T22:30", "2026-13-28T22:30Z"])
def test_without_a_time_no_end_can_be_compared(now):
    assert "give the time with its zone" in refused(cordon=[{"gpu": 0, "until": "2026-12-31"}], now=now)
    assert plan(TWO_4090, MODEL, cordon=[{"gpu": 0}], now=now)["left_out"]


def test_a_gpu_keeps_its_number_while_it_is_left_alone():
    """Also where the numbers are not in the order of the PCI addresses."""
    before = planned()
    turned = copy.deepcopy(TWO_4090)
    turned["gpus"][0]["pci_bus_id"], turned["gpus"][1]["pci_bus_id"] = "0000:02:00.0", "0000:01:00.0"
    cordoned = planned({"gpu": FIRST}, inventory=turned, applied_plan=before)
    after = planned(inventory=turned, applied_plan=written.as_written(cordoned))
    assert {gpu["uuid"]: gpu["number"] for gpu in after["gpus"]} == {FIRST: 0, SECOND: 1}
