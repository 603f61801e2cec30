# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a release would do without any setting."""

from __future__ import annotations

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import MIB, TWO_4090, plan, sized, wanted
from tests.unit.plugins.module_utils.placement.cases import plan_of


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


def test_untouched_ollama_sees_one_mig_device():
    result = plan_of("mig-untouched")
    behaviour = result["models"][0]["default_behaviour"]
    assert behaviour["outcome"] == "partial" and behaviour["gpu_uuids"] == ["MIG-10000000-0000-0000-0000-000000000000"]
    assert all(len(instance["gpu_uuids"]) == 1 for instance in result["instances"])
    small = plan(mig_host(), wanted("llama3.1-8b"))
    behaviour = small["models"][0]["default_behaviour"]
    assert behaviour["outcome"] == "single" and behaviour["gpu_uuids"] == ["MIG-00000001"]
    assert [instance["gpu_uuids"] for instance in small["instances"]] == [["MIG-00000001"], ["MIG-00000002"]]


def test_beside_a_mig_device_untouched_ollama_sees_no_other_gpu():
    inventory = mig_host(hosts.A6000, hosts.A6000)
    behaviour = plan(inventory, wanted("llama3.3-70b"))["models"][0]["default_behaviour"]
    assert behaviour["outcome"] == "partial" and behaviour["gpu_uuids"] == ["MIG-00000001"]


def mig_host(*others):
    """A host with a GPU in two MIG devices, and other GPUs."""
    inventory = hosts.inventory((81559, 81000), *others)
    memory = {"total_bytes": 40000 * MIB, "free_bytes": 39000 * MIB}
    inventory["gpus"][0]["mig"] = {
        "mode": "enabled",
        "devices": [{"uuid": "MIG-0000000%d" % number, "memory": memory} for number in (1, 2)],
    }
    return inventory


def test_untouched_ollama_does_not_load_what_goes_to_sixteen_gpus():
    inventory = hosts.inventory(*[(15360, 15290)] * 16)
    result = plan(inventory, wanted("llama3.3-70b"))
    behaviour = result["models"][0]["default_behaviour"]
    assert behaviour["outcome"] is None and "at most 15" in behaviour["error"]
    assert "it would not load: the model goes to 16 GPUs" in result["models"][0]["reason"]
    assert result["feasible"] and all(len(instance["gpu_uuids"]) <= 15 for instance in result["instances"])
    small = plan(inventory, wanted("llama3.1-8b", context_length=4096))["models"][0]["default_behaviour"]
    effects = {setting["name"]: setting["effect"] for setting in small["settings"]}
    assert "no effect where the instance sees one GPU" in effects["OLLAMA_SCHED_SPREAD"]
    assert "with the 16 GPUs of this host the load ends" in effects["OLLAMA_SCHED_SPREAD"]
    # What goes to one GPU loads, and the plan says what would not.
    alone = plan_of("sixteen-gpus")
    assert alone["models"][0]["default_behaviour"]["outcome"] == "single"
    assert any("its load ends" in warning for warning in alone["warnings"])


def test_ollama_sees_a_context_less_than_nvml_does():
    # 3 x RTX 2080 Ti: the model takes 80 % of what NVML tells, and more than 80 % of what Ollama sees.
    inventory = hosts.inventory(*[(11264, 11100)] * 3, architecture="Turing", compute_capability="7.5")
    entry = sized("m", 8.3, context_length=4096)
    entry["model"] = dict(entry["model"], context_length=4096)
    behaviour = plan(inventory, entry)["models"][0]["default_behaviour"]
    predicted = behaviour["predicted_bytes"]
    assert (11100 - 457) * MIB * 8 // 10 < predicted <= 11100 * MIB * 8 // 10
    assert behaviour["outcome"] == "split" and len(behaviour["gpu_uuids"]) == 3
    measured = plan(inventory, entry, overhead_bytes=0)["models"][0]["default_behaviour"]
    assert measured["outcome"] == "single"


def test_many_mig_devices_are_not_many_gpus_for_a_process():
    inventory = mig_host()
    memory = inventory["gpus"][0]["mig"]["devices"][0]["memory"]
    inventory["gpus"][0]["mig"]["devices"] = [
        {"uuid": "MIG-%08d" % number, "memory": memory} for number in range(1, 18)
    ]
    small = plan(inventory, wanted("llama3.1-8b"))["models"][0]["default_behaviour"]
    effects = {setting["name"]: setting["effect"] for setting in small["settings"]}
    assert effects["OLLAMA_SCHED_SPREAD"] == "no effect where the instance sees one GPU only"


def test_untouched_ollama_gives_the_engine_one_library_only():
    """Which one changes from start to start, so that a model over GPUs of two libraries is not called split."""
    inventory = dict(hosts.inventory(hosts.RTX4090, hosts.RTX4090), driver_version="580.95.05")
    inventory["gpus"][0]["compute_capability"], inventory["gpus"][1]["compute_capability"] = "10.3", "12.0"
    result = plan(inventory, sized("m", 40, context_length=4096, allow_cpu_offload=True))
    behaviour = result["models"][0]["default_behaviour"]
    assert behaviour["outcome"] is None and "different CUDA libraries (cuda_v12 and cuda_v13)" in behaviour["error"]
    small = plan(inventory, sized("m", 4, context_length=4096))["models"][0]["default_behaviour"]
    assert small["outcome"] == "single" and small["error"] is None
    inventory["gpus"][0]["compute_capability"] = "8.6"  # cuda_v13 serves both
    alike = plan(inventory, sized("m", 40, context_length=4096))["models"][0]["default_behaviour"]
    assert alike["outcome"] in ("split", "partial") and alike["error"] is None


def test_an_overhead_above_what_the_gpus_have_is_said_to_wrap_around():
    result = plan(TWO_4090, wanted("llama3.1-8b"), environment={"OLLAMA_GPU_OVERHEAD": 30 * 1024 * MIB})
    settings = result["models"][0]["default_behaviour"]["settings"]
    (effect,) = [setting["effect"] for setting in settings if setting["name"] == "OLLAMA_GPU_OVERHEAD"]
    assert effect.startswith("no effect on placement") and "wraps around to 16 EiB, which gives 262144 tokens" in effect
