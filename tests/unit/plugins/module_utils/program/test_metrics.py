# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The metrics of a host: what a check has seen, and no series for what is not known."""

from __future__ import annotations

import copy
import dataclasses
import datetime

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.gpu_condition import HARDWARE_XIDS
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics import Source, samples
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics_list import BY_KEY

from tests.unit.plugins.module_utils.evidence.builders import NAME, PCI, A, B, observations, plan

GIB = 1024**3
TIME = datetime.datetime(2026, 11, 28, 22, 40, tzinfo=datetime.timezone.utc)
PROOF = {"tokens_per_second": {"gpu0-1": {NAME: 44.1}}, "time": "2026-11-28T20:00:00Z"}
XID = "NVRM: Xid (PCI:%s): %d, pid='<unknown>', name=<unknown>, Ch 00000008"


def source(seen=None, wanted=None, **more):
    """What the metrics of the builders' host are made from."""
    seen, wanted = seen or observations(), wanted or plan()
    found = Source(wanted, check_plan(wanted, seen), copy.deepcopy(seen.inventory), TIME)
    return dataclasses.replace(found, **more)


def facts(found, number=0):
    """The facts of a GPU of a source, to be changed."""
    return found.inventory["gpus"][number]


def test_the_verdict_of_the_host_and_of_its_instances():
    found = samples(source())
    assert found["verdict"] == {("pass",): 1, ("fail",): 0, ("unproven",): 0}
    assert found["instance_verdict"] == {("gpu0-1", "pass"): 1, ("gpu0-1", "fail"): 0, ("gpu0-1", "unproven"): 0}
    assert found["verdict_timestamp_seconds"] == {(): 1795905600}
    found = samples(source(observations(held={A: 65 * GIB, B: 298 << 20})))
    assert found["verdict"][("fail",)] == 1 and found["instance_verdict"][("gpu0-1", "fail")] == 1
    assert samples(source(observations(stayed=None)))["verdict"][("unproven",)] == 1


def test_memory_by_plan_and_by_nvml():
    found = samples(source(observations(held={A: 33 * GIB + 5, B: 31 * GIB})))
    where = (A, "gpu0-1", NAME)
    assert found["gpu_observed_bytes"] == {where: 33 * GIB + 5, (B, "gpu0-1", NAME): 31 * GIB}
    assert found["gpu_predicted_bytes"][where] == 33 * GIB + (298 << 20)
    assert found["gpu_least_bytes"][where] < found["gpu_predicted_bytes"][where] < found["gpu_most_bytes"][where]
    assert found["gpu_memory_used_bytes"][(A,)] == 33 * GIB + 5 and found["gpu_memory_total_bytes"][(A,)] == 48 * GIB


def test_memory_that_nvml_does_not_tell_is_no_series():
    seen = observations()
    for gpu in seen.inventory["gpus"]:
        gpu.update(unsupported=["processes"], processes=[])
    found = samples(source(seen))
    assert "gpu_observed_bytes" not in found and len(found["gpu_predicted_bytes"]) == 2


def test_a_model_that_is_not_loaded():
    assert samples(source())["model_loaded"] == {("gpu0-1", NAME, "true"): 1}
    assert samples(source(observations(loaded=False)))["model_loaded"] == {("gpu0-1", NAME, "true"): 0}


def test_a_model_that_is_loaded_on_demand_may_be_absent():
    wanted = plan()
    wanted["instances"][0]["models"][0]["resident"] = False
    found = samples(source(observations(loaded=False), wanted))
    assert found["model_loaded"] == {("gpu0-1", NAME, "false"): 0} and found["verdict"][("fail",)] == 0


def test_a_gpu_that_is_gone():
    assert samples(source())["gpu_present"] == {(A,): 1, (B,): 1}
    seen = observations()
    del seen.inventory["gpus"][0]
    found = samples(source(seen))
    assert found["gpu_present"] == {(A,): 0, (B,): 1} and "model_loaded" not in found
    assert found["gpu_info"] == {(B, "NVIDIA RTX A6000", PCI[B]): 1}


@pytest.mark.parametrize("state", ["timeout", "no_binding", "driver_not_loaded", None])
def test_gpus_that_cannot_be_read_are_neither_there_nor_gone(state):
    seen = observations()
    seen.inventory.update(state=state, gpus=[], reason="it does not answer")
    found = samples(source(seen, kernel_lines=[]))
    assert found["gpus_readable"] == {(): 0}
    assert not [
        key
        for key in found
        if key.startswith("gpu_")
        and key not in ("gpu_predicted_bytes",)
        and not key.endswith(("least_bytes", "most_bytes"))
    ]


def test_heat_and_throttling():
    found = source()
    facts(found).update(
        temperature_celsius=91, slowdown_temperature_celsius=90, throttle_reasons=["hardware_thermal_slowdown"]
    )
    facts(found, 1).update(throttle_reasons=[], unsupported=["throttle_reasons"], temperature_celsius=None)
    shown = samples(found)
    assert shown["gpu_temperature_celsius"] == {(A,): 91} and shown["gpu_slowdown_temperature_celsius"] == {(A,): 90}
    assert {uuid for uuid, _reason in shown["gpu_throttled"]} == {A}
    assert [reason for (_uuid, reason), value in shown["gpu_throttled"].items() if value] == [
        "hardware_thermal_slowdown"
    ]


@pytest.mark.parametrize("unknown", [{"errors": {"throttle_reasons": {"code": 999}}}, {"throttle_reasons": None}])
def test_throttling_that_cannot_be_read_is_not_said_to_be_absent(unknown):
    found = source()
    for number in (0, 1):
        facts(found, number).update({"throttle_reasons": [], **unknown})
    assert "gpu_throttled" not in samples(found)


def test_memory_errors_are_those_of_gpus_that_count_them():
    found = source()
    facts(found)["ecc"] = {"uncorrected_volatile": 0, "uncorrected_aggregate": 3}
    facts(found, 1)["ecc"] = {"uncorrected_volatile": None, "uncorrected_aggregate": None}
    shown = samples(found)
    assert shown["gpu_ecc_uncorrected_errors_total"] == {(A,): 0}
    assert shown["gpu_ecc_uncorrected_lifetime_errors_total"] == {(A,): 3}


def test_messages_of_the_kernel_are_counted_by_gpu_and_code():
    lines = [XID % ("0000:18:00", 48), XID % ("0000:18:00", 48), XID % ("0000:18:00", 31), XID % ("0000:af:00", 79)]
    found = samples(source(kernel_lines=lines + ["NVRM: loading"]))["gpu_xid_messages"]
    assert found[(A, PCI[A], "48")] == 2 and found[(A, PCI[A], "31")] == 1
    assert found[("", "0000:af:00", "79")] == 1, "the driver lists it no more"
    shorter = samples(source(kernel_lines=[*lines, XID % ("0000:18", 48)]))["gpu_xid_messages"]
    assert shorter[(A, PCI[A], "48")] == 3, "an address without its device is of the same GPU"
    assert {code for uuid, _address, code in found if uuid == B} == set(map(str, HARDWARE_XIDS))
    assert {value for (uuid, _address, _code), value in found.items() if uuid == B} == {0}


def test_a_log_that_cannot_be_read_is_no_log_without_messages():
    assert "gpu_xid_messages" not in samples(source())
    assert "gpu_xid_messages" in samples(source(kernel_lines=[]))


def test_a_gpu_with_mig_and_without_mig_devices_is_not_present():
    found = source()
    facts(found).update(mig={"mode": "enabled", "devices": []})
    assert samples(found)["gpu_present"] == {(A,): 0, (B,): 1}


def test_the_parts_of_a_gpu_have_memory_and_the_gpu_has_the_rest():
    found = source()
    part = {"uuid": "MIG-1", "name": "NVIDIA A100 MIG 1g.5gb", "memory": {"total_bytes": 5 * GIB, "used_bytes": GIB}}
    facts(found).update(temperature_celsius=40, mig={"mode": "enabled", "devices": [part]})
    shown = samples(found)
    assert shown["gpu_memory_used_bytes"][("MIG-1",)] == GIB
    assert ("MIG-1", "NVIDIA A100 MIG 1g.5gb", PCI[A]) in shown["gpu_info"]
    assert set(shown["gpu_temperature_celsius"]) == {(A,)}


def test_a_part_without_a_uuid_is_no_series():
    found = source()
    part = {"uuid": None, "name": "NVIDIA A100 MIG 1g.5gb", "memory": {"total_bytes": 5 * GIB, "used_bytes": GIB}}
    facts(found).update(mig={"mode": "enabled", "devices": [part]})
    shown = samples(found)
    assert set(shown["gpu_memory_used_bytes"]) == {(A,), (B,)} and {labels[0] for labels in shown["gpu_info"]} == {A, B}


def test_the_proof_of_the_plan_in_force():
    found = samples(source(proof=PROOF))
    assert found["proof_tokens_per_second"] == {("gpu0-1", NAME): 44.1}
    assert found["proof_timestamp_seconds"] == {(): 1795896000}
    for proof in (None, {}, {"time": "yesterday", "tokens_per_second": {}}):
        assert not {"proof_tokens_per_second", "proof_timestamp_seconds"} & set(samples(source(proof=proof)))


def test_the_interval_of_the_checks_is_told_where_there_are_any():
    assert samples(source(interval=600))["check_interval_seconds"] == {(): 600}
    assert "check_interval_seconds" not in samples(source(interval=0))


def test_every_sample_has_the_labels_of_its_metric():
    found = samples(source(proof=PROOF, kernel_lines=[], interval=600))
    assert set(found) <= set(BY_KEY)
    for key, series in found.items():
        assert {len(labels) for labels in series} == {len(BY_KEY[key].labels)}, key
        assert all(isinstance(label, str) for labels in series for label in labels)


def test_a_name_of_a_gpu_that_breaks_lines_stays_one_series():
    found = source()
    facts(found)["name"] = 'RTX "4090"\n\x1b[2J\\'
    assert (A, 'RTX "4090"\n\\x1b[2J\\', PCI[A]) in samples(found)["gpu_info"]
