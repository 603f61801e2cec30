# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The judge: passes what is as planned, and only that; every lie and fault gets the finding that explains it."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.judge import judge

from tests.unit.plugins.module_utils.evidence.builders import GIB, MIB, NAME, OVERHEAD, UNIT, A, B, evidence, log, plan

CPU_LOG = {"buffers": {"CPU": 64 * GIB}, "dry_run": {}}


def findings(result):
    return [entry["finding"] for entry in result["diagnosis"]]


def checks(result):
    return {check["name"]: check["passed"] for check in result["instances"][0]["models"][0]["checks"]}


def failed(result):
    return [name for name, passed in checks(result).items() if passed is False]


def test_a_split_as_planned_passes():
    result = judge(plan(), evidence())
    assert result["verdict"] == "pass"
    assert result["diagnosis"] == []
    assert all(checks(result).values())
    model = result["instances"][0]["models"][0]
    assert model["layers_offloaded"] == 49
    assert model["tokens_per_second"] == 31.5
    assert model["load_seconds"] == 9.5
    assert model["devices"] == [
        {
            "uuid": A,
            "predicted_bytes": 33 * GIB + OVERHEAD,
            "engine_bytes": 33 * GIB,
            "observed_bytes": 33 * GIB + OVERHEAD,
            "utilization_peak": 47,
        },
        {
            "uuid": B,
            "predicted_bytes": 32 * GIB + OVERHEAD,
            "engine_bytes": 32 * GIB,
            "observed_bytes": 32 * GIB + OVERHEAD,
            "utilization_peak": 44,
        },
    ]


def test_it_passes_without_a_journal():
    result = judge(plan(), evidence(log=None, devices={}))
    assert result["verdict"] == "pass"
    assert checks(result)["layers"] is None
    assert checks(result)["engine_dry_run"] is None


def test_it_passes_and_says_so_where_utilization_is_not_supported():
    result = judge(plan(), evidence(utilization_peak={A: None, B: None}))
    assert result["verdict"] == "pass"
    assert checks(result)["utilization " + A] is None


def test_it_changes_neither_plan_nor_evidence():
    wanted, seen = plan(), evidence(held={A: 65 * GIB, B: 300 * MIB})
    before = copy.deepcopy((wanted, seen))
    judge(wanted, seen)
    assert (wanted, seen) == before


LIES = [
    # The log says 49/49 and size equals size_vram in each of them.
    ("one_gpu", evidence(held={A: 65 * GIB, B: 300 * MIB}), "one_gpu_carries_all"),
    ("the other one", evidence(held={A: 300 * MIB, B: 65 * GIB}), "one_gpu_carries_all"),
    ("one_gpu, the other one not even opened", evidence(held={A: 65 * GIB}), "one_gpu_carries_all"),
    ("contexts_only", evidence(held={A: 300 * MIB, B: 300 * MIB}), "layers_on_cpu"),
    ("nothing", evidence(held={}), "cpu_only"),
    (
        "cpu, with buffers named CPU",
        evidence(
            held={},
            log=log(**CPU_LOG),
            ps={"name": NAME, "size": 0, "size_vram": 0, "context_length": 32768},
            utilization_peak={A: 0, B: 0},
        ),
        "cpu_only",
    ),
    (
        "foreign",
        evidence(held={A: 300 * MIB, B: 300 * MIB}, others={A: [(77, 33 * GIB, None)], B: [(77, 32 * GIB, None)]}),
        "foreign_process",
    ),
    (
        "foreign, of another service",
        evidence(
            held={A: 300 * MIB, B: 300 * MIB},
            others={A: [(77, 33 * GIB, "ollama.service")], B: [(78, 32 * GIB, "ollama.service")]},
        ),
        "foreign_process",
    ),
    ("far, too much", evidence(held={A: 40 * GIB, B: 39 * GIB}), "far_from_predicted"),
    ("far, too little", evidence(held={A: 25 * GIB, B: 24 * GIB}), "far_from_predicted"),
    ("idle", evidence(utilization_peak={A: 0, B: 0}), "layers_on_cpu"),
    ("one idle", evidence(utilization_peak={A: 40, B: 0}), "layers_on_cpu"),
    ("dead", evidence(died="process 4242 ended after it had loaded the model"), "engine_died"),
    (
        "dead while generating",
        evidence(generation_error="llama-server process has terminated: exit status 1"),
        "engine_died",
    ),
    ("silent", evidence(generation_error="nothing has moved in the unit for 300 seconds"), "engine_died"),
    ("some layers", evidence(held={A: 20 * GIB, B: 19 * GIB}, log=log(layers=(30, 49))), "layers_on_cpu"),
    ("one layer", evidence(log=log(layers=(48, 49))), "layers_on_cpu"),
    (
        "size_vram below size",
        evidence(ps={"name": NAME, "size": 66 * GIB, "size_vram": 60 * GIB, "context_length": 32768}),
        "layers_on_cpu",
    ),
    (
        "experts in host memory under 49/49",
        evidence(
            held={A: 12 * GIB, B: 11 * GIB}, log=log(buffers={"CUDA0": 12 * GIB, "CUDA1": 11 * GIB, "CPU": 42 * GIB})
        ),
        "layers_on_cpu",
    ),
    (
        "another context length",
        evidence(ps={"name": NAME, "size": 66 * GIB, "size_vram": 66 * GIB, "context_length": 4096}),
        "far_from_predicted",
    ),
    (
        "the engine expects more than was predicted",
        evidence(log=log(dry_run={"CUDA0": 35 * GIB, "CUDA1": 32 * GIB})),
        "far_from_predicted",
    ),
]


@pytest.mark.parametrize("seen, finding", [case[1:] for case in LIES], ids=[case[0] for case in LIES])
def test_every_lie_fails_with_what_explains_it(seen, finding):
    result = judge(plan(), seen)
    assert result["verdict"] == "fail"
    assert failed(result)
    assert findings(result) == [finding]
    for entry in result["diagnosis"]:
        assert entry["evidence"] and entry["remedy"].endswith(".")
        assert entry["instance"] == "gpu0-1" and entry["model"] == NAME


def test_the_log_and_size_vram_alone_never_pass_a_model():
    """Everything that Ollama and the engine say is in favour; NVML lists no process."""
    seen = evidence(held={}, utilization_peak=None)
    result = judge(plan(), seen)
    assert result["verdict"] == "fail"
    assert "49/49" in result["diagnosis"][0]["evidence"]


@pytest.mark.parametrize("share", [100 * MIB, 3 * GIB])
def test_a_small_model_has_to_be_there_although_it_is_below_the_tolerance(share):
    small = plan({A: share}, outcome="single")
    result = judge(small, evidence(held={}, log=None))
    assert findings(result) == ["cpu_only"]
    assert judge(small, evidence(held={A: share + OVERHEAD}, log=None, utilization_peak={A: 5}))["verdict"] == "pass"


def test_a_replica_on_the_wrong_gpu_fails():
    result = judge(plan({A: 5 * GIB}, outcome="single"), evidence(held={B: 5 * GIB + OVERHEAD}, log=None))
    assert findings(result) == ["far_from_predicted"]
    assert B in result["diagnosis"][0]["evidence"]
    assert result["instances"][0]["models"][0]["devices"][1]["uuid"] == B


def test_a_spread_of_a_small_model_that_lies_on_one_gpu_fails():
    """num_gpu 999 alone, without OLLAMA_SCHED_SPREAD: one GPU (ollama-behaviour.md 14.2)."""
    spread = plan({A: 3 * GIB, B: 3 * GIB}, outcome="split")
    result = judge(spread, evidence(held={A: 6 * GIB + OVERHEAD}, log=None, utilization_peak={A: 50, B: 0}))
    assert findings(result) == ["one_gpu_carries_all"]
    assert "OLLAMA_SCHED_SPREAD" in result["diagnosis"][0]["remedy"]


@pytest.mark.parametrize("off, verdict", [(0, "pass"), (3.3, "pass"), (-3.3, "pass"), (3.4, "fail"), (-3.4, "fail")])
def test_the_limit_is_ten_percent_of_a_large_device(off, verdict):
    held = {A: 33 * GIB + OVERHEAD + int(off * GIB), B: 32 * GIB + OVERHEAD}
    assert judge(plan(), evidence(held=held))["verdict"] == verdict


@pytest.mark.parametrize("off, verdict", [(1020, "pass"), (-1020, "pass"), (1030, "fail"), (-1030, "fail")])
def test_the_limit_is_one_gib_of_a_small_device(off, verdict):
    small = plan({A: 4 * GIB}, outcome="single")
    assert judge(small, evidence(held={A: 4 * GIB + OVERHEAD + off * MIB}, log=None))["verdict"] == verdict


@pytest.mark.parametrize(
    "off, verdict", [(1250, "pass"), (-4000, "pass"), (-5110, "pass"), (1270, "fail"), (-5130, "fail")]
)
def test_scratch_memory_for_weights_on_the_host_may_be_there_and_need_not_be(off, verdict):
    partly = plan({A: 12 * GIB}, outcome="partial")
    device = partly["instances"][0]["models"][0]["predicted"]["devices"][0]
    device.update(weight_bytes=6 * GIB, offload_scratch_bytes=4 * GIB)  # and 1 GiB each of KV cache and compute buffer
    assert judge(partly, evidence(held={A: 12 * GIB + OVERHEAD + off * MIB}, log=None))["verdict"] == verdict


def test_a_gpu_that_was_to_hold_scratch_memory_alone_carries_the_model_without_it():
    partly = plan({A: 4 * GIB, B: 12 * GIB}, outcome="partial")
    device = partly["instances"][0]["models"][0]["predicted"]["devices"][0]
    device.update(layers=0, weight_bytes=0, kv_bytes=0, compute_bytes=0, offload_scratch_bytes=4 * GIB)
    assert judge(partly, evidence(held={A: OVERHEAD, B: 12 * GIB + OVERHEAD}, log=None))["verdict"] == "pass"


@pytest.mark.parametrize("excess, verdict", [(1000, "pass"), (1030, "fail")])
def test_the_prediction_may_be_below_the_engines_by_the_headroom_at_most(excess, verdict):
    seen = evidence(log=log(dry_run={"CUDA0": 33 * GIB + excess * MIB, "CUDA1": 32 * GIB}))
    assert judge(plan(), seen)["verdict"] == verdict


def test_memory_that_nvml_does_not_tell_is_worked_out_from_the_device():
    seen = evidence()
    for number, size in enumerate((33 * GIB + OVERHEAD, 32 * GIB + OVERHEAD)):
        seen["inventory"]["gpus"][number]["processes"][0]["used_bytes"] = None
        seen["inventory"]["gpus"][number]["memory"]["used_bytes"] = size
    assert judge(plan(), seen)["verdict"] == "pass"
    seen["inventory"]["gpus"][1]["memory"]["used_bytes"] = 300 * MIB
    assert findings(judge(plan(), seen)) == ["one_gpu_carries_all"]


# -- the GPUs --------------------------------------------------------------------------------------------------------------------


def test_a_gpu_that_is_gone_is_named():
    seen = evidence()
    del seen["inventory"]["gpus"][1]
    seen["inventory"]["unlisted"] = ["0000:3b:00.0"]
    result = judge(plan(), seen)
    assert findings(result) == ["gpu_not_seen"]
    assert B in result["diagnosis"][0]["evidence"] and "0000:3b:00.0" in result["diagnosis"][0]["evidence"]


def test_a_gpu_that_is_lost_is_named():
    seen = evidence()
    seen["inventory"]["gpus"][1]["health"] = {"state": "unusable", "reasons": ["it has fallen off the bus"]}
    assert findings(judge(plan(), seen)) == ["gpu_not_seen"]


def test_a_driver_in_trouble_gives_its_own_remedy():
    seen = evidence()
    seen["inventory"].update(state="version_mismatch", reason="the versions differ", remedy="Reboot the host.", gpus=[])
    result = judge(plan(), seen)
    assert findings(result) == ["gpu_not_seen"]
    assert result["diagnosis"][0]["remedy"] == "Reboot the host."


# -- not loaded ------------------------------------------------------------------------------------------------------------------

NOT_LOADED = {
    "loaded": False,
    "ps": None,
    "engine": None,
    "log": None,
    "utilization_peak": None,
    "tokens_per_second": None,
    "load_seconds": None,
}


@pytest.mark.parametrize(
    "changes, finding",
    [
        ({}, "not_loaded"),
        ({"load_error": "model 'x' not found"}, "not_loaded"),
        ({"load_error": "llama-server process has terminated: exit status 1"}, "engine_died"),
        ({"died": "the model was loaded, and is not any more"}, "engine_died"),
        ({"would_evict": ["stray:latest"]}, "not_loaded"),
    ],
)
def test_a_model_that_is_not_loaded_says_why(changes, finding):
    result = judge(plan(), evidence(held={}, **dict(NOT_LOADED, **changes)))
    assert result["verdict"] == "fail"
    assert findings(result) == [finding]
    for text in changes.values():
        assert str(text if isinstance(text, str) else text[0]) in result["diagnosis"][0]["evidence"]


def test_a_load_that_fails_for_a_foreign_process_names_it():
    seen = evidence(
        held={},
        others={A: [(77, 30 * GIB, None)]},
        **dict(NOT_LOADED, load_error="llama-server process has terminated: out of memory"),
    )
    result = judge(plan(), seen)
    assert findings(result) == ["foreign_process"]
    assert "77" in result["diagnosis"][0]["remedy"]


def test_a_server_that_does_not_answer():
    seen = evidence(held={}, **NOT_LOADED)
    seen["instances"]["gpu0-1"].update(
        reachable=False, error="cannot reach the Ollama server at http://127.0.0.1:11434: connection refused"
    )
    result = judge(plan(), seen)
    assert findings(result) == ["not_loaded"]
    assert "connection refused" in result["diagnosis"][0]["evidence"]


def test_a_stopped_service_is_not_taken_for_what_answers_on_its_port():
    seen = evidence()
    seen["instances"]["gpu0-1"]["unit"] = {"ActiveState": "inactive", "MainPID": "0"}
    result = judge(plan(), seen)
    assert findings(result) == ["not_loaded"]
    assert "something else answers" in result["diagnosis"][0]["evidence"]


def test_an_instance_without_any_evidence_fails():
    seen = evidence()
    seen["instances"] = {}
    assert judge(plan(), seen)["verdict"] == "fail"


# -- others on the same GPU ------------------------------------------------------------------------------------------------------


def test_memory_of_others_that_the_plan_counted_is_no_finding():
    wanted = plan()
    wanted["gpus"][0]["foreign_bytes"] = 14 * GIB
    seen = evidence(others={A: [(77, 14 * GIB, None)]})  # as much as fails below, where the plan did not count it
    assert judge(wanted, seen)["verdict"] == "pass"


def test_a_newcomer_that_leaves_the_headroom_alone_is_no_finding():
    assert judge(plan(), evidence(others={A: [(77, 10 * GIB, None)]}))["verdict"] == "pass"


def test_a_newcomer_that_takes_the_headroom_fails():
    result = judge(plan(), evidence(others={A: [(77, 14 * GIB, None)]}))
    assert findings(result) == ["foreign_process"]


def test_memory_of_the_plans_other_instances_is_not_foreign():
    wanted = plan()
    other = copy.deepcopy(wanted["instances"][0])
    other.update(name="gpu0", unit="ollama@gpu0.service", models=[])
    wanted["instances"].append(other)
    seen = evidence(others={A: [(99, 14 * GIB, "ollama@gpu0.service")]})
    assert judge(wanted, seen)["verdict"] == "pass"


def test_a_mig_device_is_a_device_of_its_own():
    """NVML lists the processes of its MIG devices on the GPU too: that is not memory on another GPU."""
    wanted, seen = (
        plan({"MIG-1": 5 * GIB}, outcome="single"),
        evidence(held={A: 5 * GIB + OVERHEAD}, log=None, utilization_peak={"MIG-1": None}),
    )
    parent = seen["inventory"]["gpus"][0]
    parent["mig"] = {
        "mode": "enabled",
        "devices": [
            {
                "uuid": "MIG-1",
                "memory": {"total_bytes": 20 * GIB, "free_bytes": 14 * GIB, "used_bytes": 6 * GIB},
                "processes": list(parent["processes"]),
            }
        ],
    }
    assert judge(wanted, seen)["verdict"] == "pass"


def test_two_models_of_an_instance_are_told_apart_by_process():
    wanted, seen = plan({A: 5 * GIB}, outcome="single"), evidence(held={A: 5 * GIB + OVERHEAD}, log=None)
    second = copy.deepcopy(wanted["instances"][0]["models"][0])
    second.update(create_as="other:latest")
    wanted["instances"][0]["models"].append(second)
    found = copy.deepcopy(seen["instances"]["gpu0-1"]["models"][NAME])
    found["engine"]["pid"] = 4300
    seen["instances"]["gpu0-1"]["models"]["other:latest"] = found
    result = judge(wanted, seen)
    assert [entry["finding"] for entry in result["diagnosis"]] == ["cpu_only"]
    assert result["diagnosis"][0]["model"] == "other:latest"
    seen["inventory"]["gpus"][0]["processes"].append(
        {"pid": 4300, "name": "llama-server", "used_bytes": 5 * GIB + OVERHEAD, "unit": UNIT}
    )
    assert judge(wanted, seen)["verdict"] == "pass"


# -- the CPU ---------------------------------------------------------------------------------------------------------------------


def cpu_evidence(**changes):
    seen = evidence(
        held={},
        log=log(**CPU_LOG),
        utilization_peak={},
        ps={"name": NAME, "size": 0, "size_vram": 0, "context_length": 32768},
        **changes,
    )
    seen["inventory"].update(state="no_library", gpus=[], reason="no driver", remedy="none")
    return seen


def test_a_cpu_instance_passes_and_says_so():
    result = judge(plan({}), cpu_evidence())
    assert result["verdict"] == "pass"
    assert checks(result)["cpu_only"] is True


def test_a_cpu_instance_has_to_be_loaded():
    assert findings(judge(plan({}), cpu_evidence(loaded=False))) == ["not_loaded"]


def test_a_cpu_instance_that_sits_on_a_gpu_fails():
    assert findings(judge(plan({}), evidence(held={A: 20 * GIB}))) == ["far_from_predicted"]


def test_a_plan_with_some_layers_on_the_cpu_passes_with_as_many():
    wanted = plan({A: 20 * GIB, B: 20 * GIB})
    wanted["instances"][0]["models"][0]["predicted"].update(gpu_layers=30, fully_on_gpu=False, host_bytes=25 * GIB)
    held = {A: 20 * GIB + OVERHEAD, B: 20 * GIB + OVERHEAD}
    partial = {"ps": {"name": NAME, "size": 66 * GIB, "size_vram": 40 * GIB, "context_length": 32768}}
    good = log(
        layers=(30, 49),
        buffers={"CUDA0": 20 * GIB, "CUDA1": 20 * GIB, "CPU": 25 * GIB},
        dry_run={"CUDA0": 20 * GIB, "CUDA1": 20 * GIB},
    )
    assert judge(wanted, evidence(held=held, log=good, **partial))["verdict"] == "pass"
    fewer = dict(good, layers=29)
    assert findings(judge(wanted, evidence(held=held, log=fewer, **partial))) == ["layers_on_cpu"]
