# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The harder choices: sets of models, tenants, connections, what runs already."""

from __future__ import annotations

import pytest

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, held, outline, plan, sized, wanted, where

TWO_A6000 = hosts.inventory(hosts.A6000, hosts.A6000)
TWO_4090 = hosts.inventory(hosts.RTX4090, hosts.RTX4090)


# -- several models ---------------------------------------------------------------------------------------------------


def test_a_set_that_fits_only_in_one_way_is_found():
    # Largest first, each to the emptiest GPU, leaves no room for the last one: 13 | 9 + 9 | 7 does not work, 13 + 9 ... does.
    inventory = hosts.inventory((24576, 24000), (24576, 24000))
    sizes = [11.5, 8.0, 8.0, 5.5, 5.5]
    result = plan(
        inventory,
        *[sized("m%d" % number, size, context_length=2048, headroom_bytes=0) for number, size in enumerate(sizes)],
    )
    assert result["feasible"]
    for gpu, size in held(result).items():
        assert size <= 24000 * MIB, gpu
    assert not plan(
        inventory,
        *[
            sized("m%d" % number, size + 1.5, context_length=2048, headroom_bytes=0)
            for number, size in enumerate(sizes)
        ],
    )["feasible"]


def test_the_fullest_gpu_is_as_empty_as_possible():
    # Each to the emptiest GPU would give 8 + 5 + 5 and 7 + 6; 8 + 7 and 6 + 5 + 5 is more even.
    result = plan(
        TWO_A6000, *[sized("m%d" % number, size, context_length=2048) for number, size in enumerate([8, 7, 6, 5, 5])]
    )
    sums = sorted(held(result).values())
    assert sums[1] - sums[0] < 2 * GIB and len(sums) == 2


def test_a_split_leaves_room_for_the_others():
    # The two best GPUs for the split are the only ones that hold the other model.
    inventory = hosts.inventory((24564, 24100), (49140, 48600), (24564, 24100))
    result = plan(
        inventory,
        wanted("llama3.3-70b", strategy="split", context_length=4096),
        wanted("qwen3-32b", context_length=4096, strategy="single"),
    )
    assert result["feasible"]
    assert set(where(result)["qwen3-32b"]) != {"gpu0-1"}


def test_the_headroom_of_one_model_is_not_given_to_another():
    one = hosts.inventory(hosts.A6000)
    roomy = wanted("llama3.1-8b", headroom_bytes=24 * GIB)
    assert plan(one, roomy, wanted("qwen3-14b"))["feasible"]
    assert not plan(one, roomy, wanted("qwen3-32b"))["feasible"]
    assert plan(one, wanted("llama3.1-8b"), wanted("qwen3-32b"))["feasible"]


def test_what_depends_on_the_order_of_loading_is_written_down():
    result = plan(TWO_A6000, wanted("llama3.1-8b", context_length=40000), wanted("llama4-scout", context_length=32768))
    for instance in result["instances"]:
        for model in instance["models"]:
            assert model["parameters"]["num_batch"] == model["predicted"]["ubatch"]
    alone = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))["instances"][0]["models"][0]
    assert "num_batch" not in alone["parameters"]


def test_999_counts_what_all_models_of_a_gpu_leave():
    one = hosts.inventory((24564, 24100))
    entries = [
        sized("a", 10, context_length=2048, headroom_bytes=200 * MIB),
        sized("b", 11.6, context_length=2048, headroom_bytes=200 * MIB),
    ]
    result = plan(one, *entries)
    assert result["feasible"] and 24100 * MIB - sum(held(result).values()) < GIB
    for instance in result["instances"]:
        assert instance["environment"]["LLAMA_ARG_FIT_TARGET"] == "100"
        assert all("num_gpu" not in model["parameters"] for model in instance["models"])


def test_a_smaller_batch_where_ollamas_own_does_not_fit():
    # Ollama counts the cache as f16, so here it takes its largest batch although there is little room left.
    entry = sized("m", 2, context_length=131072, kv_cache_type="f32")
    roomy = plan(hosts.inventory(hosts.RTX4090), entry)["instances"][0]["models"][0]
    assert "num_batch" not in roomy["parameters"] and roomy["predicted"]["ubatch"] == 2048
    tight = hosts.inventory((24564, roomy["predicted"]["devices"][0]["total_bytes"] // MIB + 1024 - 150))
    result = plan(tight, entry)
    model = result["instances"][0]["models"][0]
    assert result["feasible"] and model["parameters"]["num_batch"] == 1024 == model["predicted"]["ubatch"]
    assert any("batch of 1024" in warning for warning in result["warnings"])
    assert not plan(tight, dict(entry, ubatch=2048))["feasible"]


# -- GPUs -------------------------------------------------------------------------------------------------------------


def test_a_gpu_in_exclusive_mode_with_a_tenant_is_left_out():
    inventory = hosts.inventory(hosts.A6000, hosts.A6000, compute_mode="exclusive_process")
    taken = hosts.with_process(inventory, 0, 500, "other.service")
    result = plan(taken, wanted("llama3.1-8b"))
    assert where(result) == {"llama3.1-8b": ["gpu1"]}
    assert any("exclusive compute mode and serves process 4000" in warning for warning in result["warnings"])
    before = plan(inventory, wanted("llama3.1-8b"))
    assert outline(plan(hosts.loaded(inventory, before), wanted("llama3.1-8b"), applied_plan=before)) == outline(before)
    desktop = hosts.with_process(inventory, 0, 500, "display.service")
    desktop["gpus"][0]["processes"][0]["type"] = "graphics"
    assert where(plan(desktop, wanted("llama3.1-8b"))) == {"llama3.1-8b": ["gpu0", "gpu1"]}


def test_a_mig_device_is_selected_by_its_uuid_and_keeps_its_own_memory():
    inventory = hosts.inventory((81559, 81000), hosts.A6000)
    slices = [
        {
            "uuid": "MIG-%08x-0000" % number,
            "name": "3g.40gb",
            "memory": {"total_bytes": 40000 * MIB, "free_bytes": 39000 * MIB},
        }
        for number in (1, 2)
    ]
    inventory["gpus"][0]["mig"] = {"mode": "enabled", "devices": slices}
    result = plan(inventory, wanted("llama3.1-8b"), selectors=["MIG-00000002-0000"])
    assert [instance["gpu_uuids"] for instance in result["instances"]] == [["MIG-00000002-0000"]]
    assert len(plan(inventory, wanted("llama3.1-8b"), selectors=["0"])["instances"]) == 2
    before = plan(inventory, wanted("llama3.1-8b"), selectors=["0"])
    for part, instance in zip(slices, before["instances"]):
        size = instance["models"][0]["predicted"]["devices"][0]["total_bytes"]
        part["memory"]["free_bytes"] -= size
        part["processes"] = [{"pid": 1, "name": "llama-server", "used_bytes": size, "unit": instance["unit"]}]
    assert outline(plan(inventory, wanted("llama3.1-8b"), selectors=["0"], applied_plan=before)) == outline(before)


def four(**changes):
    inventory = hosts.inventory(*[hosts.RTX4090] * 4)
    for index, change in changes.items():
        inventory["gpus"][int(index[1:])].update(change)
    return inventory


def link(inventory, one, other, **how):
    uuids = [inventory["gpus"][index]["uuid"] for index in (one, other)]
    inventory["topology"] = inventory["topology"] + [dict({"uuids": uuids, "path": None, "nvlinks": None}, **how)]


def test_gpus_that_nvlink_joins_are_preferred():
    inventory = four()
    link(inventory, 1, 3, nvlinks=4)
    assert where(plan(inventory, wanted("llama3.3-70b"))) == {"llama3.3-70b": ["gpu1-3"]}


def test_gpus_of_one_numa_node_are_preferred_and_then_the_shorter_path():
    inventory = four(g0={"numa_node": 1}, g2={"numa_node": 1})
    assert where(plan(inventory, wanted("llama3.3-70b"))) == {"llama3.3-70b": ["gpu0-2"]}
    inventory = four()
    for one in range(4):
        for other in range(one + 1, 4):
            link(inventory, one, other, path="PIX" if (one, other) == (2, 3) else "SYS")
    assert where(plan(inventory, wanted("llama3.3-70b"))) == {"llama3.3-70b": ["gpu2-3"]}


def test_more_nvlink_pairs_are_better_than_fewer():
    inventory = four()
    for pair in ((0, 1), (1, 2), (1, 3), (2, 3)):
        link(inventory, *pair, nvlinks=2)
    result = plan(inventory, wanted("llama4-scout", context_length=8192))
    assert where(result)["llama4"] == ["gpu1-2-3"]


def test_a_degraded_gpu_is_used_last_and_named():
    hot = {"health": {"state": "degraded", "reasons": ["thermal slowdown"]}}
    result = plan(four(g0=hot), wanted("llama3.3-70b"))
    assert where(result) == {"llama3.3-70b": ["gpu1-2"]}
    assert any("degraded: thermal slowdown" in warning for warning in result["warnings"])
    inventory = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
    inventory["gpus"][0].update(hot)
    assert where(plan(inventory, wanted("llama3.1-8b", replicas=1))) == {"llama3.1-8b": ["gpu1"]}


def test_sixteen_gpus_of_which_those_with_room_are_no_neighbours():
    sizes = [(24564, 24100 if index in (0, 3, 6, 9, 12, 15) else 3000) for index in range(16)]
    result = plan(hosts.inventory(*sizes), wanted("llama4-scout", context_length=131072))
    assert result["feasible"] and {gpu.split("-")[1] for gpu in result["instances"][0]["gpu_uuids"]} <= {
        "%08d" % (index + 1) for index in (0, 3, 6, 9, 12, 15)
    }


# -- contexts, replicas and slots -------------------------------------------------------------------------------------


def test_an_automatic_context_may_be_less_than_the_default():
    tight = hosts.inventory((24564, 22800), (24564, 22800))
    assert not plan(tight, wanted("llama3.3-70b", context_length=8192))["feasible"]
    result = plan(tight, wanted("llama3.3-70b", context_length="auto"))
    tokens = result["instances"][0]["models"][0]["context_length"]
    assert result["feasible"] and 2048 <= tokens < 8192
    assert not plan(tight, wanted("llama3.3-70b", context_length=tokens + 256))["feasible"]


def test_two_automatic_contexts_share_what_there_is():
    entries = [wanted("llama3.1-8b", context_length="auto"), wanted("qwen3-14b", context_length="auto")]
    result = plan(hosts.inventory((24564, 24100)), *entries)
    found = [model["context_length"] for instance in result["instances"] for model in instance["models"]]
    assert result["feasible"] and min(found) > 8192 and max(found) < 3 * min(found)


def test_replicas_against_slots():
    report = plan(TWO_4090, wanted("llama3.1-8b"))["models"][0]["capacity"]
    assert report["instances"] == 2 and report["slots"] == 2 and report["slot_bytes"] == 8192 * 131072
    most = report["most_parallel"]
    assert most > 4 and plan(TWO_4090, wanted("llama3.1-8b", parallel=most))["models"][0]["capacity"]["instances"] == 2
    again = plan(TWO_4090, wanted("llama3.1-8b", parallel=most + 1, strategy="single"))
    assert not again["feasible"]
    warning = next(
        warning for warning in plan(TWO_4090, wanted("llama3.1-8b", replicas=5))["warnings"] if "replicas" in warning
    )
    assert (
        "2 of the 5" in warning and "parallel could be up to %d" % most in warning and "slot takes 1.0 GiB" in warning
    )


def test_a_model_that_ollama_serves_one_request_at_a_time():
    entry = wanted("qwen3-8b", parallel=4)
    entry["model"] = dict(entry["model"], architecture="qwen3vl")
    result = plan(TWO_4090, entry)
    assert result["instances"][0]["environment"]["OLLAMA_NUM_PARALLEL"] == "1" and any(
        "one request at a time" in warning for warning in result["warnings"]
    )


def test_alternatives_have_numbers_and_reasons():
    report = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))["models"][0]
    assert report["alternatives"][0]["reason"].endswith("missing")
    report = plan(TWO_4090, wanted("llama3.1-8b"))["models"][0]
    assert (
        "fits on fewer GPUs" in report["alternatives"][0]["reason"]
        and report["alternatives"][0]["total_bytes"] > 5 * GIB
    )


# -- what runs already ------------------------------------------------------------------------------------------------


def shifted(inventory, *mib):
    """The same host with these MiB less (or more) free on each GPU."""
    gpus = [
        dict(gpu, memory=dict(gpu["memory"], free_bytes=gpu["memory"]["free_bytes"] - size * MIB))
        for gpu, size in zip(inventory["gpus"], mib)
    ]
    return dict(inventory, gpus=gpus)


def settings_of(result):
    return [
        (item["name"], item["port"], item["environment"], [model["parameters"] for model in item["models"]])
        for item in result["instances"]
    ]


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


def test_a_split_model_is_not_squeezed_into_one_gpu():
    def single(free):
        return where(plan(hosts.inventory((24564, free), (24564, 12000)), sized("m", 18))) == {"m": ["gpu0"]}

    size = next(free for free in range(19000, 24000, 10) if single(free))
    low, high = hosts.inventory((24564, size - 40), (24564, 12000)), hosts.inventory((24564, size + 40), (24564, 12000))
    before = plan(low, sized("m", 18))
    assert where(before) == {"m": ["gpu0-1"]} and where(plan(high, sized("m", 18))) == {"m": ["gpu0"]}
    assert where(plan(high, sized("m", 18), applied_plan=before)) == {"m": ["gpu0-1"]}
    assert where(plan(hosts.inventory((49140, 48600), (24564, 12000)), sized("m", 18), applied_plan=before)) == {
        "m": ["gpu0"]
    }


def test_instances_that_run_keep_their_names_and_ports():
    before = plan(TWO_4090, sized("m", 5, strategy="single"), sized("n", 5, kv_cache_type="q8_0", strategy="single"))
    entries = [
        sized("m", 5, strategy="single"),
        sized("n", 5, kv_cache_type="q8_0", strategy="single"),
        sized("a", 3, kv_cache_type="q4_0", strategy="single"),
    ]
    after = plan(TWO_4090, *entries, applied_plan=before)

    def ends(result):
        return {
            item["models"][0]["create_as"]: (item["name"], item["port"], item["gpu_uuids"])
            for item in result["instances"]
        }

    assert {name: ends(after)[name] for name in ends(before)} == ends(before) and len(ends(after)) == 3
    moved = plan(TWO_4090, *entries, applied_plan=before, base_port=12000)
    assert sorted(item["port"] for item in moved["instances"]) == [12000, 12001, 12002]


def test_999_does_not_come_and_go():
    entry = sized("m", 15, context_length=2048, headroom_bytes=100 * MIB)
    total = (
        plan(hosts.inventory(hosts.A6000), entry)["instances"][0]["models"][0]["predicted"]["devices"][0]["total_bytes"]
        // MIB
        + 1
    )

    def host(spare):
        return hosts.inventory((24564, total + spare))

    def forced(result):
        return result["instances"][0]["models"][0]["parameters"].get("num_gpu")

    with_it, without = plan(host(1100), entry), plan(host(900), entry)
    assert (forced(with_it), forced(without)) == (999, None)
    assert (
        forced(plan(host(900), entry, applied_plan=with_it)) == 999
        and forced(plan(host(600), entry, applied_plan=with_it)) is None
    )
    assert without["instances"][0]["environment"]["LLAMA_ARG_FIT_TARGET"] == "50"


def test_the_facts_of_every_model_are_enough_for_a_plan_of_any_release():
    for version in ("0.11.4", "0.24.0", "0.32.15"):
        for name in models.names()[:6]:
            assert plan(
                hosts.inventory(*[hosts.A6000] * 2),
                wanted(name, context_length=4096, allow_cpu_offload=True),
                ollama_version=version,
            )["feasible"]
