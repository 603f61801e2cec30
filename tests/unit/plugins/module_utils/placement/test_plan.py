# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the planner chooses and how the plan says it."""

from __future__ import annotations

import pytest

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, outline, plan, sized, wanted

TWO_A6000 = hosts.inventory(hosts.A6000, hosts.A6000)
TWO_4090 = hosts.inventory(hosts.RTX4090, hosts.RTX4090)


def test_llama4_is_split_over_two_gpus_that_cannot_hold_it_alone():
    result = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))
    assert outline(result) == [("gpu0-1", "llama4:16x17b-optimized", [25, 24])]
    instance = result["instances"][0]
    model = instance["models"][0]
    assert result["feasible"] and result["models"][0]["strategy"] == "split"
    assert instance["unit"] == "ollama@gpu0-1.service" and instance["url"] == "http://127.0.0.1:11434"
    assert instance["environment"]["CUDA_VISIBLE_DEVICES"] == ",".join(gpu["uuid"] for gpu in TWO_A6000["gpus"])
    assert (
        instance["environment"]["OLLAMA_SCHED_SPREAD"] == "1"
        and instance["environment"]["OLLAMA_CONTEXT_LENGTH"] == "32768"
    )
    assert model["parameters"] == {"num_ctx": 32768, "num_gpu": 999} and model["expected"] == {"outcome": "split"}
    first, second = model["predicted"]["devices"]
    assert model["predicted"]["ubatch"] == 1024 and model["predicted"]["fully_on_gpu"]
    assert [round(first[key] / MIB) for key in ("weight_bytes", "kv_bytes", "compute_bytes")] == [31659, 1452, 764]
    assert [round(second[key] / MIB) for key in ("weight_bytes", "kv_bytes", "compute_bytes")] == pytest.approx(
        [30105, 1380, 1357], abs=1
    )
    for device in (first, second):
        parts = ("weight_bytes", "kv_bytes", "compute_bytes", "projector_bytes", "overhead_bytes")
        assert device["total_bytes"] == sum(device[key] for key in parts)


def test_the_projector_is_a_line_on_the_first_gpu():
    model = wanted("llama4-scout", context_length=32768)
    model["model"] = dict(model["model"], projector_bytes=1619 * MIB)
    devices = plan(TWO_A6000, model)["instances"][0]["models"][0]["predicted"]["devices"]
    assert [device["projector_bytes"] for device in devices] == [1619 * MIB, 0]


def test_the_only_model_is_replicated_where_it_fits_one_gpu():
    result = plan(TWO_4090, wanted("llama3.1-8b"))
    assert outline(result) == [
        ("gpu0", "llama3.1-8b:latest-optimized", [33]),
        ("gpu1", "llama3.1-8b:latest-optimized", [33]),
    ]
    assert [instance["port"] for instance in result["instances"]] == [11434, 11435]
    assert all("OLLAMA_SCHED_SPREAD" not in instance["environment"] for instance in result["instances"])
    assert len(plan(TWO_4090, wanted("llama3.1-8b", replicas=1))["instances"]) == 1
    assert "1 of the 3" not in " ".join(plan(TWO_4090, wanted("llama3.1-8b", replicas=3))["warnings"])
    assert "2 of the 3" in " ".join(plan(TWO_4090, wanted("llama3.1-8b", replicas=3))["warnings"])


def test_spread_takes_all_gpus_though_one_would_do():
    result = plan(TWO_4090, wanted("llama3.1-8b", strategy="spread"))
    assert outline(result) == [("gpu0-1", "llama3.1-8b:latest-optimized", [17, 16])]
    assert result["instances"][0]["environment"]["OLLAMA_SCHED_SPREAD"] == "1"


def test_several_models_go_where_they_leave_the_fullest_gpu_emptiest():
    result = plan(TWO_A6000, wanted("llama3.1-8b"), wanted("qwen3-14b"), wanted("qwen3-32b"))
    where = {name: instance for instance, name, dummy in outline(result)}
    assert where == {
        "qwen3-32b:latest-optimized": "gpu0",
        "qwen3-14b:latest-optimized": "gpu1",
        "llama3.1-8b:latest-optimized": "gpu1",
    }
    shared = result["instances"][1]
    assert shared["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "2"
    assert [report["name"] for report in result["models"]] == [
        "llama3.1-8b:latest",
        "qwen3-14b:latest",
        "qwen3-32b:latest",
    ]


def test_models_that_ollama_would_evict_for_each_other_get_an_instance_each():
    one = hosts.inventory(hosts.RTX4090)
    result = plan(one, wanted("qwen3-14b", context_length=26624), wanted("llama3.1-8b", context_length=32768))
    assert [instance["name"] for instance in result["instances"]] == ["gpu0", "gpu0b"]


def test_models_with_other_server_wide_settings_get_an_instance_each():
    result = plan(hosts.inventory(hosts.A6000), wanted("llama3.1-8b", kv_cache_type="q8_0"), wanted("qwen3-8b"))
    assert [instance["environment"].get("OLLAMA_KV_CACHE_TYPE") for instance in result["instances"]] == ["q8_0", None]


def test_a_split_beside_other_models_does_not_depend_on_the_order_of_loading():
    result = plan(TWO_A6000, wanted("llama3.1-8b"), wanted("llama4-scout"))
    split = next(instance for instance in result["instances"] if instance["name"] == "gpu0-1")
    assert split["environment"]["LLAMA_ARG_TENSOR_SPLIT"] == "25,24"


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
    overfull = hosts.with_process(running, 0, 30000, "other.service")
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


def test_memory_of_our_units_that_nvml_does_not_tell_is_taken_from_the_applied_plan():
    before = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))
    running = hosts.loaded(TWO_A6000, before)
    for gpu in running["gpus"]:
        gpu["processes"] = [dict(process, used_bytes=None) for process in gpu["processes"]]
    after = plan(running, wanted("llama4-scout", context_length=32768), applied_plan=before)
    assert outline(after) == outline(before)


@pytest.mark.parametrize("name", ["llama4-scout", "llama3.1-8b"])
def test_the_order_of_the_gpus_changes_nothing(name):
    turned = dict(TWO_A6000, gpus=list(reversed(TWO_A6000["gpus"])))
    assert plan(turned, wanted(name)) == plan(TWO_A6000, wanted(name))


def test_a_gpu_keeps_the_number_of_the_applied_plan():
    before = plan(TWO_4090, wanted("llama3.1-8b"))
    moved = hosts.inventory(hosts.RTX4090, hosts.RTX4090)
    moved["gpus"][0]["pci_bus_id"], moved["gpus"][1]["pci_bus_id"] = "0000:02:00.0", "0000:01:00.0"
    after = plan(moved, wanted("llama3.1-8b"), applied_plan=before)
    names = {instance["gpu_uuids"][0]: instance["name"] for instance in after["instances"]}
    assert names == {instance["gpu_uuids"][0]: instance["name"] for instance in before["instances"]}


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


def test_an_automatic_context_does_not_follow_every_megabyte():
    before = plan(TWO_4090, wanted("llama3.3-70b", context_length="auto"))
    tokens = before["instances"][0]["models"][0]["context_length"]
    roomier = hosts.inventory((24564, 24200), (24564, 24200))
    after = plan(roomier, wanted("llama3.3-70b", context_length="auto"), applied_plan=before)
    assert after["instances"][0]["models"][0]["context_length"] == tokens
    assert (
        plan(roomier, wanted("llama3.3-70b", context_length="auto"))["instances"][0]["models"][0]["context_length"]
        > tokens
    )


def test_selectors_take_index_uuid_and_pci_address():
    second = TWO_4090["gpus"][1]
    for selector in ("1", 1, second["uuid"], second["pci_bus_id"].upper(), "00000000:02:00.0"):
        result = plan(TWO_4090, wanted("llama3.1-8b"), selectors=[selector])
        assert [instance["name"] for instance in result["instances"]] == ["gpu1"]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"health": {"state": "unusable", "reasons": ["row remapping failed"]}}, "row remapping failed"),
        ({"compute_mode": "prohibited"}, "compute mode is prohibited"),
        ({"memory": {"total_bytes": None, "free_bytes": None}}, "memory is unknown"),
        ({"mig": {"mode": "enabled", "devices": []}}, "no MIG device"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_left_out_with_the_reason(change, reason):
    inventory = hosts.inventory(hosts.A6000, hosts.A6000)
    inventory["gpus"][0].update(change)
    result = plan(inventory, wanted("llama3.1-8b"))
    assert [instance["name"] for instance in result["instances"]] == ["gpu1"]
    assert any(reason in warning for warning in result["warnings"])


def test_gpus_that_are_too_old_for_flash_attention_are_planned_without_it():
    def compute(capability, version, **settings):
        inventory = dict(hosts.inventory(hosts.A6000, compute_capability=capability), driver_version="580.95.05")
        result = plan(inventory, wanted("llama3.1-8b", context_length=16384, **settings), ollama_version=version)
        predicted = result["instances"][0]["models"][0]["predicted"]
        return predicted["devices"][0]["compute_bytes"], predicted["ubatch"]

    switched_off = compute("8.6", "0.32.15", flash_attention=False)
    assert switched_off[0] > compute("8.6", "0.32.15", ubatch=512)[0]
    assert compute("5.2", "0.32.15") == switched_off
    assert compute("6.1", "0.30.0") == compute("8.6", "0.30.0", flash_attention=False)  # from 0.31.2 Pascal has it too
    assert compute("6.1", "0.32.15") == compute("8.6", "0.32.15")


def test_a_quantized_cache_is_refused_where_the_engine_would_go_without_flash_attention():
    inventory = dict(hosts.inventory(hosts.A6000, compute_capability="5.2"), driver_version="580.95.05")
    refused = plan(inventory, wanted("llama3.1-8b", kv_cache_type="q8_0"))
    assert not refused["feasible"]
    assert refused["models"][0]["reason"].startswith(
        "A KV cache of type q8_0 needs flash attention, which Ollama 0.32.15 does not use"
    )
    assert plan(hosts.inventory(hosts.A6000), wanted("llama3.1-8b", kv_cache_type="q8_0"))["feasible"]


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


def test_an_embedding_model_gets_the_batch_of_embedding_models():
    def batch(**settings):
        entry = wanted("qwen3-8b", **settings)
        entry["model"] = dict(entry["model"], capabilities=["embedding"])
        predicted = plan(TWO_A6000, entry)["instances"][0]["models"][0]["predicted"]
        return predicted["ubatch"]

    assert (batch(context_length=8192), batch(context_length=1024), batch(context_length=8192, ubatch=512)) == (
        2048,
        1024,
        512,
    )
    assert (
        plan(TWO_A6000, wanted("qwen3-8b", context_length=8192))["instances"][0]["models"][0]["predicted"]["ubatch"]
        == 1024
    )


def test_models_share_an_instance_only_where_their_batches_leave_both_loaded():
    one = hosts.inventory((24564, 24164))
    for size, settings in ((9.0, {"ubatch": 2048}), (9.5, {"ubatch": 1024})):
        entries = [sized(name, size, context_length=8192, **settings) for name in ("a", "b")]
        assert len(plan(one, *entries)["instances"]) == 2
    assert len(plan(one, *[sized(name, 4, context_length=8192) for name in ("a", "b")])["instances"]) == 1


def test_an_applied_plan_with_a_gpu_that_is_gone():
    three = hosts.inventory(*[hosts.A6000] * 3)
    before = plan(three, wanted("llama4-scout"))
    left = dict(three, gpus=[three["gpus"][0], three["gpus"][2]])
    after = plan(left, wanted("llama4-scout"), applied_plan=before)
    assert before["instances"][0]["name"] == "gpu0-1" and after["instances"][0]["name"] == "gpu0-2"


def test_a_mig_slice_is_an_instance_and_never_part_of_a_split():
    inventory = hosts.inventory((81559, 81000))
    slices = [
        {
            "uuid": "MIG-%08x-0000" % number,
            "name": "3g.40gb",
            "memory": {"total_bytes": 40000 * MIB, "free_bytes": 39000 * MIB},
        }
        for number in (1, 2)
    ]
    inventory["gpus"][0]["mig"] = {"mode": "enabled", "devices": slices}
    result = plan(inventory, wanted("llama3.1-8b"))
    assert [instance["environment"]["CUDA_VISIBLE_DEVICES"] for instance in result["instances"]] == [
        "MIG-00000001-0000",
        "MIG-00000002-0000",
    ]
    assert len({instance["name"] for instance in result["instances"]}) == 2
    assert not plan(inventory, wanted("llama3.3-70b"))["feasible"]


def test_a_gpu_in_exclusive_mode_serves_one_model():
    inventory = hosts.inventory(hosts.A6000, hosts.A6000, compute_mode="exclusive_process")
    result = plan(inventory, wanted("llama3.1-8b"), wanted("qwen3-8b"), wanted("qwen3-0.6b"))
    assert not result["feasible"]
    assert plan(inventory, wanted("llama3.1-8b"), wanted("qwen3-8b"))["feasible"]


def test_too_big_names_the_shortfall_and_the_remedies_in_order():
    result = plan(TWO_4090, wanted("llama3.3-70b", context_length=16384))
    report = result["models"][0]
    assert not result["feasible"] and result["instances"] == []
    assert 0 < report["shortfall_bytes"] < 2 * GIB
    words = [remedy.split(":")[0].split(" ")[0] for remedy in report["remedies"]]
    assert words == ["context_length", "kv_cache_type", "quantization", "more", "allow_cpu_offload"]
    tokens = int(report["remedies"][0].split("at most ")[1].split(" ")[0])
    assert plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens))["feasible"]
    assert not plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens + 1024))["feasible"]
    assert plan(TWO_4090, wanted("llama3.3-70b", context_length=16384, kv_cache_type="q8_0"))["feasible"]


def test_the_plan_shows_what_it_did_not_choose():
    report = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))["models"][0]
    assert [(entry["strategy"], len(entry["gpu_uuids"])) for entry in report["alternatives"]] == [("single", 1)]
    assert report["alternatives"][0]["shortfall_bytes"] > 15 * GIB
    report = plan(TWO_4090, wanted("llama3.1-8b"))["models"][0]
    assert [(entry["strategy"], entry["shortfall_bytes"]) for entry in report["alternatives"]] == [("split", 0)]


def test_layers_on_the_cpu_only_where_they_are_allowed():
    result = plan(TWO_4090, wanted("llama3.3-70b", context_length=32768, allow_cpu_offload=True))
    model = result["instances"][0]["models"][0]
    assert model["expected"]["outcome"] == "partial" and "num_gpu" not in model["parameters"]
    assert 0 < model["predicted"]["gpu_layers"] < 81 and model["predicted"]["host_bytes"] > GIB


def test_without_a_gpu():
    none = {
        "state": "driver_not_loaded",
        "reason": "the driver is not loaded",
        "remedy": "Load the kernel module nvidia.",
        "gpus": [],
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


def test_auto_context_is_the_largest_that_fits():
    result = plan(TWO_4090, wanted("llama3.3-70b", context_length="auto"))
    tokens = result["instances"][0]["models"][0]["context_length"]
    assert 8192 < tokens < 131072
    assert plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens))["feasible"]
    assert not plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens + 256))["feasible"]


def test_what_the_version_would_do_untouched():
    behaviour = plan(TWO_4090, wanted("llama3.1-8b", strategy="spread"))["models"][0]["default_behaviour"]
    assert (
        behaviour["context_length"] == 131072 and behaviour["outcome"] == "split"
    )  # the tier of two 24 GB cards, capped by the training
    effects = {setting["name"]: setting for setting in behaviour["settings"]}
    assert effects["OLLAMA_GPU_OVERHEAD"]["effect"].startswith("no effect")
    assert effects["num_gpu"]["value"] == 999 and "no fallback to the CPU" in effects["num_gpu"]["effect"]
    assert (
        effects["OLLAMA_SCHED_SPREAD"]["value"] == "1"
        and "all visible GPUs" in effects["OLLAMA_SCHED_SPREAD"]["effect"]
    )
    single = plan(hosts.inventory(hosts.A6000), wanted("llama3.1-8b", context_length=4096))["models"][0][
        "default_behaviour"
    ]
    assert (
        single["outcome"] == "single"
        and single["predicted_bytes"] == models.model("llama3.1-8b")["file_bytes"] + 131072 * 131072
    )


def test_unequal_gpus_get_a_split_that_fits():
    inventory = hosts.inventory((24564, 24100), (49140, 48600), (24564, 6000))
    result = plan(inventory, wanted("llama4-scout", context_length=4096))
    assert result["feasible"]
    for device in result["instances"][0]["models"][0]["predicted"]["devices"]:
        assert device["total_bytes"] + GIB <= device["room_bytes"]
