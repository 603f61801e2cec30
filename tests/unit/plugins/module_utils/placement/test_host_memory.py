# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The host's own memory in a plan: GPUs that share it, models on the CPU, buffers, swap."""

from __future__ import annotations

import pytest

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, outline, plan, sized, wanted
from tests.unit.plugins.module_utils.placement.cases import plan_of

NO_GPU = {"state": "no_devices", "reason": "no GPU", "remedy": None, "gpus": [], "no_gpu_present": True}


def with_memory(inventory, total, available, swap=0, units=()):
    """The inventory of a host with so many GiB of memory; units: (name, GiB)."""
    held = [{"unit": unit, "used_bytes": int(size * GIB)} for unit, size in units]
    memory = {"total_bytes": int(total * GIB), "available_bytes": int(available * GIB), "units": held}
    return dict(inventory, host_memory=dict(memory, swap_total_bytes=swap * GIB, swap_free_bytes=swap * GIB))


def spark(total=121.7, available=110.0, processes=(), **memory):
    """The inventory of a host whose one GPU shares its memory."""
    shared = {"total_bytes": int(total * GIB), "free_bytes": int(available * GIB), "kind": "unified"}
    one = hosts.inventory(
        hosts.A6000, name="NVIDIA GB10", compute_capability="12.1", memory=shared, processes=list(processes)
    )
    return with_memory(dict(one, driver_version="580.173.02"), total, available, **memory)


def refused(result):
    """(reason, remedies) of the one model of a plan that is not feasible."""
    assert not result["feasible"] and not result["instances"]
    (model,) = result["models"]
    return model["reason"], model["remedies"]


# --- GPUs that share the host's memory --------------------------------------------------------------------------------


def test_a_gpu_that_shares_the_hosts_memory_gets_remedies_that_help_there():
    reason, remedies = refused(plan_of("unified-remedies"))
    assert "share the host's memory, of which 14.5 GiB of 121.7 GiB are available" in reason
    assert "stay free for the host (host_headroom_bytes)" in reason
    assert not [one for one in remedies if "allow_cpu_offload" in one or one.startswith("more GPUs")]
    assert [one for one in remedies if one.startswith("host memory: free ")]
    assert [one for one in remedies if one.startswith("quantization: ")]


@pytest.mark.parametrize("total, available", [(7.4, 4.0), (30.0, 20.0), (61.0, 40.0), (121.7, 60.0)])
def test_what_the_host_needs_stays_free_on_every_size_of_host(total, available):
    result = plan(spark(total, available), sized("m", available - 2.5))
    kept = result["host_memory"]["headroom_bytes"]
    assert kept == min(8 * GIB, max(GIB, int(total * GIB) // 32))
    (device,) = result["instances"][0]["models"][0]["predicted"]["devices"] if result["feasible"] else [None]
    if device:
        assert result["host_memory"]["planned_bytes"] + kept <= available * GIB
    else:
        assert "host_headroom_bytes" in refused(result)[0]


def test_freeing_what_the_remedy_names_makes_the_model_fit():
    dear = spark(available=20.0, units=[("vllm.service", 80.0)])
    remedies = refused(plan(dear, sized("m", 30)))[1]
    (free,) = [one for one in remedies if one.startswith("host memory: free ")]
    assert "80.0 GiB by vllm.service" in free
    size = float(free.split("free ", 1)[1].split(" GiB", 1)[0])
    assert plan(spark(available=20.0 + size), sized("m", 30))["feasible"]
    assert not plan(spark(available=20.0 + size - 1), sized("m", 30))["feasible"]


def test_a_smaller_headroom_of_the_host_is_a_remedy_and_an_option():
    tight = spark(available=33.0)
    assert any(one.startswith("host_headroom_bytes: 1073741824") for one in refused(plan(tight, sized("m", 30)))[1])
    assert plan(tight, sized("m", 30), host_headroom_bytes=GIB)["feasible"]


def test_two_models_share_the_one_memory():
    result = plan(spark(available=60.0), sized("a", 25), sized("b", 25))
    assert result["feasible"] and result["host_memory"]["planned_bytes"] > 50 * GIB
    assert not plan(spark(available=54.0), sized("a", 25), sized("b", 25))["feasible"]


def test_offload_to_the_cpu_gives_a_shared_memory_nothing():
    reason, remedies = refused(plan(spark(available=20.0), sized("m", 30, allow_cpu_offload=True)))
    assert "host_headroom_bytes" in reason and not any(one.startswith("more GPUs") for one in remedies)
    layers = plan(spark(), sized("m", 30, allow_cpu_offload=True, parameters={"num_gpu": 3}))
    assert any(
        "gives it no more memory: GPU and CPU of this host share one memory" in one for one in layers["warnings"]
    )


def test_a_model_that_would_not_fit_is_not_replicated_or_split_over_one_memory():
    twice = spark(available=60.0)
    twice["gpus"].append(dict(twice["gpus"][0], uuid="GPU-2", index=1, pci_bus_id="0000:02:00.0"))
    assert not plan(twice, sized("m", 70))["feasible"]
    result = plan(twice, sized("m", 25, replicas=2))
    assert result["host_memory"]["planned_bytes"] <= 60 * GIB


def test_the_plan_is_the_same_before_and_after_loading_on_a_shared_memory():
    before = plan(spark(available=60.0), sized("m", 25))
    (instance,) = before["instances"]
    held = instance["models"][0]["predicted"]
    gpu_bytes, host_bytes = held["devices"][0]["total_bytes"], held["host_total_bytes"]
    process = {"pid": 7, "name": "llama-server", "used_bytes": gpu_bytes, "unit": instance["unit"]}
    after = plan(
        spark(
            available=60.3 - (gpu_bytes + host_bytes) / GIB,
            processes=[process],
            units=[(instance["unit"], host_bytes / GIB)],
        ),
        sized("m", 25),
        applied_plan=before,
    )
    assert after["instances"] == before["instances"] and after["gpus"] == before["gpus"]
    assert after["warnings"] == before["warnings"] == []


# --- models on the CPU ------------------------------------------------------------------------------------------------


def test_a_model_on_the_cpu_is_held_against_the_hosts_memory():
    fitting = plan(with_memory(NO_GPU, 64, 60), sized("m", 30, allow_cpu_offload=True))
    assert outline(fitting) == [("cpu", "m:latest-optimized", [])] and fitting["host_memory"]["notes"] == []
    predicted = fitting["instances"][0]["models"][0]["predicted"]
    assert predicted["host_total_bytes"] > predicted["host_bytes"] > 30 * GIB and predicted["host_compute_bytes"] > 0
    assert fitting["host_memory"]["planned_bytes"] == predicted["host_total_bytes"]
    reason, remedies = refused(plan(with_memory(NO_GPU, 32, 30), sized("m", 40, allow_cpu_offload=True)))
    assert reason.startswith("The model takes 4") and "and the host has 32.0 GiB" in reason
    assert any(one.startswith("quantization: ") for one in remedies)
    assert not any(one.startswith("host memory") for one in remedies), "the host is too small whatever else runs there"


def test_what_other_processes_hold_goes_to_swap_or_must_be_freed():
    model = sized("m", 30, allow_cpu_offload=True)
    swapping = plan(with_memory(NO_GPU, 64, 20, swap=32), model)
    (note,) = swapping["host_memory"]["notes"]
    assert note in swapping["warnings"]
    assert "the host would swap 1" in note and "32.0 GiB of free swap" in note
    reason, remedies = refused(plan(with_memory(NO_GPU, 64, 20, units=[("db.service", 40)]), model))
    assert "20.0 GiB are available and no swap" in reason
    assert any(one.startswith("host memory: free 1") and "40.0 GiB by db.service" in one for one in remedies)
    unknown = with_memory(NO_GPU, 64, 20)
    unknown["host_memory"]["swap_free_bytes"] = None
    assert "swap of unknown size" in plan(unknown, model)["host_memory"]["notes"][0]
    tight = plan(with_memory(NO_GPU, 64, 31.5), model)
    assert "less than the 2.0 GiB of host_headroom_bytes" in tight["host_memory"]["notes"][0]


def test_layers_on_the_cpu_and_buffers_of_every_replica_count():
    gpus = hosts.inventory(hosts.RTX4090)
    model = wanted("llama3.3-70b", context_length=32768, allow_cpu_offload=True)
    split = plan(with_memory(gpus, 64, 60), model)
    assert split["feasible"] and split["host_memory"]["planned_bytes"] > 20 * GIB
    assert "of the host's memory" in refused(plan(with_memory(gpus, 24, 22), model))[0]
    eight = hosts.inventory(*[hosts.RTX4090] * 8)
    replicated = plan(with_memory(eight, 4, 3.5), wanted("llama3.1-8b"))
    assert 1 <= len(replicated["instances"]) < 8, "each replica has its own buffers"
    assert len(plan(with_memory(eight, 64, 60), wanted("llama3.1-8b"))["instances"]) == 8


def test_several_models_on_the_cpu_are_summed():
    models = [sized(name, 20, allow_cpu_offload=True) for name in ("a", "b", "c")]
    assert plan(with_memory(NO_GPU, 80, 75), *models)["feasible"]
    result = plan(with_memory(NO_GPU, 60, 55), *models)
    assert not result["feasible"]
    assert any("beside 4" in one["reason"] and "of other models" in one["reason"] for one in result["models"])


def test_our_own_units_give_their_memory_back():
    model = sized("m", 30, allow_cpu_offload=True)
    before = plan(with_memory(NO_GPU, 64, 50), model)
    (instance,) = before["instances"]
    loaded = with_memory(NO_GPU, 64, 18, units=[(instance["unit"], 31.5), ("db.service", 10)])
    assert plan(loaded, model, applied_plan=before)["instances"] == before["instances"]
    assert not plan(loaded, model)["feasible"], "without the plan that memory is another's"
    assert plan(loaded, model, own_units=[instance["unit"]])["feasible"]


def test_memory_that_is_not_known_is_said_and_refuses_nothing():
    result = plan(NO_GPU, sized("m", 500, allow_cpu_offload=True))
    assert result["feasible"] and result["host_memory"] is None
    assert "takes 50" in result["warnings"][1] and "do not say how much the host has" in result["warnings"][1]
    assert plan(hosts.inventory(hosts.A6000), sized("m", 10))["warnings"] == []


def test_older_releases_check_the_hosts_memory_themselves():
    model = sized("m", 60)
    with_facts = plan(with_memory(hosts.inventory(hosts.RTX4090), 16, 14), model, ollama_version="0.12.11")
    without = plan(hosts.inventory(hosts.RTX4090), model, ollama_version="0.12.11")
    outcomes = [one["models"][0]["default_behaviour"]["outcome"] for one in (with_facts, without)]
    assert outcomes == [None, "partial"], "it answers that the model requires more system memory"
