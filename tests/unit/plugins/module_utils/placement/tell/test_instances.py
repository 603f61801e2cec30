# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models share an instance, and what its unit needs."""

from __future__ import annotations

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, TWO_4090, TWO_A6000, held, plan, sized, wanted


def test_models_that_ollama_would_evict_for_each_other_get_an_instance_each():
    one = hosts.inventory(hosts.RTX4090)
    result = plan(one, wanted("qwen3-14b", context_length=26624), wanted("llama3.1-8b", context_length=32768))
    assert [instance["name"] for instance in result["instances"]] == ["gpu0", "gpu0b"]


def test_a_plan_says_what_it_was_made_from():
    entry = wanted("llama3.1-8b")
    facts = dict(entry["model"], digest="sha256:" + "1" * 64, headers=[{"header_bytes": 9, "header_sha256": "x"}])
    model = plan(TWO_4090, dict(entry, model=facts))["instances"][0]["models"][0]
    assert (model["planned_digest"], model["headers"]) == (facts["digest"], facts["headers"])
    assert model["digest"] is None  # only the user pins it


def test_models_with_other_server_wide_settings_get_an_instance_each():
    result = plan(hosts.inventory(hosts.A6000), wanted("llama3.1-8b", kv_cache_type="q8_0"), wanted("qwen3-8b"))
    assert [instance["environment"].get("OLLAMA_KV_CACHE_TYPE") for instance in result["instances"]] == ["q8_0", None]


def test_models_share_an_instance_only_where_their_batches_leave_both_loaded():
    one = hosts.inventory((24564, 24164))
    for size, settings in ((9.0, {"ubatch": 2048}), (10.5, {"ubatch": 1024})):
        entries = [sized(name, size, context_length=8192, **settings) for name in ("a", "b")]
        assert len(plan(one, *entries)["instances"]) == 2
    assert len(plan(one, *[sized(name, 4, context_length=8192) for name in ("a", "b")])["instances"]) == 1


def test_num_gpu_999_only_where_every_gpu_keeps_a_gigabyte():
    tight = plan(TWO_A6000, wanted("llama4-scout", context_length="auto"), headroom_bytes=300 * MIB)
    model = tight["instances"][0]["models"][0]
    spare = min(device["room_bytes"] - device["total_bytes"] for device in model["predicted"]["devices"])
    assert spare < GIB and "num_gpu" not in model["parameters"]
    assert (
        "num_gpu"
        not in plan(TWO_A6000, wanted("llama4-scout", allow_cpu_offload=True))["instances"][0]["models"][0][
            "parameters"
        ]
    )


def test_999_counts_what_all_models_of_a_gpu_leave():
    one = hosts.inventory((24564, 24100))
    entries = [
        sized("a", 10, context_length=2048, headroom_bytes=200 * MIB),
        sized("b", 12, context_length=2048, headroom_bytes=200 * MIB),
    ]
    result = plan(one, *entries)
    assert result["feasible"] and 24100 * MIB - sum(held(result).values()) < GIB
    for instance in result["instances"]:
        assert instance["environment"]["LLAMA_ARG_FIT_TARGET"] == "100"
        assert all("num_gpu" not in model["parameters"] for model in instance["models"])


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


def test_models_that_are_made_from_the_same_one_get_an_instance_each():
    """A server has one engine for a model file, and the plain name can name one of them only."""
    entries = [sized("m", 3, strategy="single", optimized={"suffix": suffix}) for suffix in ("-a", "-b")]
    result = plan(hosts.inventory((24564, 24100)), *entries, sized("n", 3))
    served = [[model["create_as"] for model in item["models"]] for item in result["instances"]]
    assert len(served) == 2 and sorted(served[0]) == ["m:latest-a", "n:latest-optimized"]
    assert served[1] == ["m:latest-b"]


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


def test_a_server_keeps_what_an_interrupted_download_left_unless_the_user_says_otherwise():
    (instance,) = plan(TWO_A6000, wanted("llama4-scout"))["instances"]
    assert instance["environment"]["OLLAMA_NOPRUNE"] == "1"
    (other,) = plan(TWO_A6000, wanted("llama4-scout"), environment={"OLLAMA_NOPRUNE": "0"})["instances"]
    assert other["environment"]["OLLAMA_NOPRUNE"] == "0"
