# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report as data: states, GPUs, findings, and what is robust against any answer."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import shapes

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import MODEL, report_of, unreachable, variables
from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned


def only(**found):
    return report_of(**found).hosts[0]


def test_a_host_that_is_as_planned_has_everything():
    host = only(a=variables())
    assert (host.state, host.reason, host.findings, host.changes) == (shapes.AS_PLANNED, "", [], [])
    assert (host.ollama_version, host.driver_version, host.address) == ("0.32.15", "580.65", "192.0.2.7")
    assert [gpu.label for gpu in host.gpus] == ["GPU 0", "GPU 1"]
    model = host.instances[0].models[0]
    assert (model.name, model.verdict, model.tokens_per_second, model.slots) == (
        "gemma3:27b-optimized",
        "pass",
        41.5,
        1,
    )
    assert model.predicted_bytes == model.observed_bytes > 2**34
    assert host.instances[0].settings["OLLAMA_CONTEXT_LENGTH"] == "8192"


def test_predicted_and_observed_memory_add_up_to_the_whole_gpu():
    for gpu in only(a=variables()).gpus:
        assert gpu.predicted.models_bytes + gpu.predicted.others_bytes + gpu.predicted.free_bytes == gpu.total_bytes
        parts = gpu.predicted
        assert parts.weights_bytes + parts.kv_bytes + parts.compute_bytes == parts.models_bytes
        seen = gpu.observed
        assert seen.models_bytes + seen.others_bytes + seen.free_bytes == gpu.total_bytes
        assert abs(seen.models_bytes - parts.models_bytes) < hosts.MIB


def test_memory_that_no_process_is_told_for_is_that_of_the_evidence():
    given = variables()
    for gpu in given["ansible_facts"]["gpu_inventory"]["gpus"]:
        gpu["processes"][0]["used_bytes"] = None
    for gpu in only(a=given).gpus:
        assert gpu.observed.models_bytes == gpu.predicted.models_bytes


@pytest.mark.parametrize("silent", [{"errors": {"processes": "NVML_ERROR_UNKNOWN"}}, {"unsupported": ["processes"]}])
@pytest.mark.parametrize("is_mig", [False, True])
def test_memory_of_processes_that_nvml_does_not_list_is_not_that_of_others(silent, is_mig):
    given = variables()
    inventory = given["ansible_facts"]["gpu_inventory"]
    for number, gpu in enumerate(inventory["gpus"]):
        gpu["processes"] = []
        if is_mig:
            parent = dict(gpu, uuid="GPU-parent-%d" % number, mig={"mode": "enabled", "devices": [gpu]}, **silent)
            inventory["gpus"][number] = parent
        else:
            gpu.update(silent)
    for gpu in only(a=given).gpus:
        assert gpu.observed.models_bytes == gpu.predicted.models_bytes > 2**30
        assert gpu.observed.others_bytes < 2**30
    given["__ollama_multigpu_evidence"] = {}
    for gpu in only(a=given).gpus:
        assert (gpu.observed.models_bytes, gpu.observed.others_bytes) == (None, None) and gpu.observed.free_bytes


def test_observed_memory_is_divided_where_the_log_of_each_engine_says_it():
    given = variables()
    (device,) = given["__ollama_multigpu_evidence"]["instances"][0]["models"][0]["devices"]
    device.update(engine_kv_bytes=2**30, engine_compute_bytes=2**29)
    first, second = only(a=given).gpus
    seen = first.observed
    assert (seen.kv_bytes, seen.compute_bytes) == (2**30, 2**29 + device["context_bytes"])
    assert seen.weights_bytes + seen.kv_bytes + seen.compute_bytes == seen.models_bytes
    assert second.observed.weights_bytes is None and second.observed.models_bytes > 0
    device.update(engine_kv_bytes=2**60)
    assert only(a=given).gpus[0].observed.weights_bytes is None


@pytest.mark.parametrize(
    "given, state, reason",
    [
        (unreachable(), shapes.UNREACHABLE, "No route to host"),
        (variables(verdict="fail"), shapes.NOT_AS_PLANNED, ""),
        (variables(verdict="unproven"), shapes.NOT_PROVEN, ""),
        (variables(failure={"task": "Fetch", "msg": "no space"}), shapes.FAILED, "no space"),
        (variables(failure={"task": "Fetch", "msg": ""}), shapes.FAILED, "The task 'Fetch' failed."),
        (variables(verdict="fail", failure={"task": "Check", "msg": "m"}), shapes.NOT_AS_PLANNED, "m"),
        (
            variables(failure={"task": "End", "msg": "above"}, switched={"failed": True, "msg": "port in use"}),
            shapes.FAILED,
            "port in use",
        ),
        (variables(run_ended=None), shapes.NOT_FINISHED, "connection was lost"),
        (variables(evidence={}), shapes.PLANNED, "not verified"),
    ],
)
def test_the_state_of_a_host_after_a_run(given, state, reason):
    host = only(a=given)
    assert host.state == state and reason in host.reason


def test_a_run_that_has_only_begun_says_so():
    report = report_of(complete=False, a=variables(run_ended=None), b=unreachable())
    assert [host.state for host in report.hosts] == [shapes.UNREACHABLE, shapes.NOT_FINISHED]
    assert "had begun and not ended" in report.hosts[1].reason


def test_what_a_run_that_changes_nothing_finds_is_drift():
    change = {"kind": "write", "object": "file", "what": "/etc/x", "reason": "It differs.", "instance": ""}
    given = variables(difference={"changes": [change]})
    host = report_of(changes_nothing=True, a=given).hosts[0]
    assert (host.state, host.is_drift, host.changes) == (shapes.DIFFERS, True, ["Write file /etc/x: It differs."])
    assert only(a=given).state == shapes.AS_PLANNED and not only(a=given).is_drift


def test_a_run_that_changes_nothing_shows_the_plan_in_force():
    """What was observed is not held beside a plan that nobody has applied."""
    applied = planned(dict(MODEL, context_length=4096, optimized={"suffix": "-old"}))
    given = variables(evidence=evidence_of(applied, "pass"))
    given["__ollama_multigpu_reached"]["host"]["applied_plan"] = dict(applied, ollama_version="0.32.1")
    host = report_of(changes_nothing=True, a=given).hosts[0]
    (model,) = host.instances[0].models
    assert (host.ollama_version, model.name, model.context_length) == ("0.32.1", "gemma3:27b-old", 4096)
    assert model.verdict == "pass" and model.observed_bytes == model.predicted_bytes
    assert host.history[-1].release == "0.32.1"
    host = only(a=given)
    assert (host.ollama_version, host.instances[0].models[0].context_length) == ("0.32.15", 8192)


def test_what_a_run_that_changes_nothing_would_apply_first_is_shown_where_nothing_is_in_force():
    given = variables(evidence={})
    given["__ollama_multigpu_reached"]["host"]["applied_plan"] = {}
    host = report_of(changes_nothing=True, a=given).hosts[0]
    assert host.state == shapes.PLANNED and host.instances[0].models[0].context_length == 8192


@pytest.mark.parametrize(
    "before",
    [
        "Task failed: ",
        "Task failed: Action failed: ",
        "Task failed: A 'when' expression failed: The filter plugin 'a.b.c' failed: ",
    ],
)
def test_a_reason_begins_with_what_went_wrong(before):
    assert only(a=variables(failure={"task": "x", "msg": before + "no space"})).reason == "no space"
    assert only(a=unreachable(before + "no route")).reason == "no route"


def test_findings_have_what_shows_them_and_a_remedy():
    entry = {"finding": "cpu_only", "evidence": "0 layers.", "remedy": "Restart it.", "instance": "gpu0", "model": "m"}
    given = variables(evidence=dict(evidence_of(planned(MODEL), "fail"), diagnosis=[entry]))
    given["ansible_facts"]["gpu_inventory"]["gpus"][1]["health"] = {"state": "degraded", "reasons": ["Xid 79"]}
    found = {one.finding: one for one in only(a=given).findings}
    assert (found["cpu_only"].where, found["cpu_only"].remedy) == ("m on gpu0", "Restart it.")
    assert found["gpu_degraded"].where.startswith("GPU 1 GPU-00000002") and found["gpu_degraded"].evidence == "Xid 79"
    assert "ansible HOST -m ping" in only(a=unreachable()).findings[0].remedy


def test_a_model_without_a_place_and_gpus_that_cannot_be_read_are_findings():
    plan = planned(dict(MODEL, context_length=131072), gpus=((8188, 8000),))
    assert not plan["feasible"]
    given = variables(plan, sizes=((8188, 8000),), evidence={}, difference={"obstacles": ["No place."]})
    given["ansible_facts"]["gpu_inventory"].update(state="timeout", reason="NVML hangs", remedy="Reboot", gpus=[])
    found = {one.finding: one for one in only(a=given).findings}
    assert set(found) == {"timeout", "no_place", "obstacle"}
    assert found["timeout"].remedy == "Reboot"
    remedies = [one.rstrip(".") for one in plan["models"][0]["remedies"]]
    assert found["no_place"].remedy == "; ".join(remedies) and len(remedies) > 1


def test_a_gpu_that_only_nvml_lists_is_in_the_report():
    given = variables()
    extra = dict(given["ansible_facts"]["gpu_inventory"]["gpus"][0], uuid="GPU-new", index=7, processes=[])
    given["ansible_facts"]["gpu_inventory"]["gpus"].append(extra)
    gpu = only(a=given).gpus[2]
    assert (gpu.uuid, gpu.label, gpu.predicted) == ("GPU-new", "GPU 7", None) and gpu.observed.models_bytes == 0


def test_a_planned_gpu_that_the_driver_does_not_list_is_unusable():
    given = variables()
    inventory = given["ansible_facts"]["gpu_inventory"]
    inventory["gpus"].pop()
    host = only(a=given)
    first, second = host.gpus
    assert (first.health, first.notes) == ("ok", [])
    assert second.health == "unusable"
    assert second.notes == ["The plan in force has it, and the driver does not list it."]
    assert [one.where for one in host.findings if one.finding == "gpu_unusable"] == ["GPU 1 " + second.uuid]
    inventory.update(state="no_devices", gpus=[])
    assert [gpu.health for gpu in only(a=given).gpus] == ["unusable", "unusable"]


@pytest.mark.parametrize("state", ["timeout", "driver_not_loaded", None])
def test_gpus_are_not_gone_where_nobody_could_look(state):
    given = variables()
    given["ansible_facts"]["gpu_inventory"].update(state=state, gpus=[])
    assert [(gpu.health, gpu.notes) for gpu in only(a=given).gpus] == [("ok", [])] * 2


def test_a_check_that_has_seen_nothing_says_unknown():
    given = variables(verdict="unproven")
    checks = given["__ollama_multigpu_evidence"]["instances"][0]["models"][0]["checks"]
    checks[:] = [{"name": "memory", "passed": None, "observed": None, "expected": 1}]
    model = only(a=given).instances[0].models[0]
    assert model.problems == ["memory is not proven: unknown instead of 1"]
    checks[0].update(passed=False, observed=2, expected=None)
    model = only(a=given).instances[0].models[0]
    assert model.problems == ["memory is not as planned: 2 instead of unknown"]


def test_settings_are_told_once_for_each_release():
    report = report_of(a=variables(), b=variables(), c=unreachable())
    assert list(report.settings) == ["0.32.15"]
    assert "its own KV cache" in report.settings["0.32.15"]["OLLAMA_NUM_PARALLEL"]


def test_the_worst_come_first():
    report = report_of(a=variables(), b=variables(verdict="fail"), c=unreachable())
    assert [host.name for host in report.hosts] == ["c", "b", "a"]
    assert report.counts == {"unreachable": 1, "not as planned": 1, "as planned": 1}


def _broken(value):
    """Variables in which one thing at a time is replaced."""
    for name in variables():
        yield dict(variables(), **{name: value})
    for keys in (("gpus", 0, "memory"), ("gpus", 0, "uuid"), ("gpus", 0, "processes"), ("gpus",)):
        given = variables()
        place = given["ansible_facts"]["gpu_inventory"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        yield given
    for keys in (("instances",), ("instances", 0, "models"), ("gpus",), ("gpus", 0, "total_bytes"), ("warnings",)):
        given = variables()
        place = given["__ollama_multigpu_placement"]["placement"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        yield given


@pytest.mark.parametrize("value", [None, 5, -1, "text", [], [[]], [None], {"a": 1}, 2**70, 1e400, True])
def test_an_answer_of_any_structure_costs_no_other_host_its_place(value):
    for given in _broken(value):
        report = report_of(bad=given, good=variables())
        assert {host.name for host in report.hosts} == {"bad", "good"}
        good = next(host for host in report.hosts if host.name == "good")
        assert good.state == shapes.AS_PLANNED
        assert dataclasses.asdict(report)


def test_secrets_and_passwords_in_addresses_are_not_repeated():
    given = variables(failure={"task": "x", "msg": "cannot get https://user:geheim@example.com/v2"})
    given["__ollama_multigpu_placement"]["placement"]["instances"][0]["environment"]["API_TOKEN"] = "geheim"
    assert "geheim" not in str(dataclasses.asdict(report_of(a=given)))
