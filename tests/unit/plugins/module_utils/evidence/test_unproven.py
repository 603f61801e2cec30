# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Unknown is not proven: what the use of a whole GPU proves, what nothing proves, and what would prove it."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    LISTED,
    MIB,
    NAME,
    OVERHEAD,
    PID,
    PS,
    A,
    B,
    checks,
    findings,
    observations,
    plan,
)

TRUE = {A: 33 * GIB + OVERHEAD, B: 32 * GIB + OVERHEAD}


def without_process_bytes(used, listed=True, fresh=False, before=None, others=()):
    """Observations of a driver that gives no memory of processes.

    used: {uuid: bytes in use on the whole GPU}; listed: whether the engine is listed, None for no list at all;
    before: {uuid: bytes in use before the check loaded the model}; others: further processes of GPU A.
    """
    seen = observations(fresh=fresh)
    for gpu in seen.inventory["gpus"]:
        gpu["memory"]["used_bytes"] = used.get(gpu["uuid"])
        gpu["processes"] = [dict(LISTED, used_bytes=None)] if listed else []
        if listed is None:
            gpu["unsupported"] = ["processes"]
    seen.inventory["gpus"][0]["processes"] += [
        {"pid": pid, "name": "python3", "used_bytes": size, "unit": None} for pid, size in others
    ]
    seen.used_before.update(before or {})
    return seen


def judged(*arguments, **options):
    result = check_plan(plan(), without_process_bytes(*arguments, **options))
    return result.verdict, findings(result)


@pytest.mark.parametrize("inventory", [{}, {"state": None, "gpus": []}])
def test_gpus_of_which_nothing_is_known_are_not_told_to_be_gone(inventory):
    result = check_plan(plan(), dataclasses.replace(observations(), inventory=inventory))
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    assert checks(result)["gpus_seen"] is None


@pytest.mark.parametrize(
    "own, others, computed",
    [(2**32 - 1, {77: 5}, None), (2**32 - 1, {}, True), (0, {77: 5}, False), (5, {77: 5}, True), (0, {}, True)],
)
def test_a_percentage_of_the_engine_that_cannot_be_is_unknown(own, others, computed):
    """Beside others that compute, it is then not known who did."""
    seen = observations(busy_processes={A: {PID: own, **others}, B: {PID: 44}})
    result = check_plan(plan(), seen)
    assert checks(result)["utilization " + A] is computed
    assert result.verdict == {True: "pass", False: "fail", None: "unproven"}[computed]


@pytest.mark.parametrize("told", ["32768", "4096", None, True, -1, 4096.5])
def test_a_context_that_is_no_number_is_unknown(told):
    result = check_plan(plan(), observations(ps=dict(PS, context_length=told)))
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    assert checks(result)["context_length"] is None


def test_the_use_of_a_gpu_proves_the_only_process_on_it():
    assert judged(TRUE) == ("pass", [])
    result = check_plan(plan(), without_process_bytes(TRUE))
    assert [device.observed_bytes for device in result.instances[0].models[0].devices] == list(TRUE.values())


def test_it_proves_it_beside_processes_whose_memory_is_known():
    more = {A: TRUE[A] + 2 * GIB, B: TRUE[B]}
    assert judged(more, others=[(77, 2 * GIB)]) == ("pass", [])
    assert judged(more, others=[(77, None)]) == ("unproven", ["unproven"])
    assert judged(more) == ("unproven", ["unproven"])


def test_it_is_an_upper_limit():
    assert judged({A: TRUE[A], B: 300 * MIB}) == ("fail", ["one_gpu_carries_all"])
    assert judged({A: 300 * MIB, B: 300 * MIB}) == ("fail", ["layers_on_cpu"])
    assert judged({A: 0, B: 0}, listed=None) == ("fail", ["cpu_only"])
    assert judged({A: 0, B: 0}, listed=False) == ("fail", ["cpu_only"])
    # What others are known to hold is not the model's.
    assert judged(TRUE, others=[(77, 3 * GIB)])[0] == "fail"


@pytest.mark.parametrize("listed", [False, None])
def test_a_list_that_lacks_the_engine_or_cannot_be_read_proves_nothing(listed):
    verdict, found = judged(TRUE, listed=listed)
    assert (verdict, found) == ("unproven", ["unproven"])


def test_nothing_in_use_that_is_known_is_no_proof_either():
    assert judged({}) == ("unproven", ["unproven"])
    seen = without_process_bytes({}, listed=None)
    for gpu in seen.inventory["gpus"]:
        gpu["memory"].update(used_bytes=100 * GIB, kind="unified")  # the host's own memory is no memory of a GPU
    assert check_plan(plan(), seen).verdict == "unproven"


@pytest.mark.parametrize("listed", [False, None])
def test_its_growth_while_the_check_loads_the_model_proves_it(listed):
    before = {A: 2 * GIB, B: GIB}
    after = {uuid: TRUE[uuid] + before[uuid] for uuid in (A, B)}
    result = check_plan(plan(), without_process_bytes(after, listed, fresh=True, before=before))
    memory = {name: passed for name, passed in checks(result).items() if name.startswith("memory")}
    assert memory == {"memory " + A: True, "memory " + B: True, "memory": True}
    if listed is False:  # in a container: the list can be read and has only its own processes
        assert judged(after, listed, fresh=True, before=before) == ("pass", [])
    assert judged(after, listed, fresh=False, before=before)[0] == "unproven"
    assert judged(after, listed, fresh=True)[0] == "unproven"


def test_growth_that_is_not_the_models_proves_nothing():
    before = {A: 20 * GIB, B: 20 * GIB}
    assert judged(TRUE, False, fresh=True, before=before)[0] == "unproven"
    assert judged(TRUE, True, fresh=True, before=before)[0] == "unproven"
    # Others are listed, so the list is not that of a container without them: the engine would be on it.
    assert judged({A: TRUE[A] + GIB, B: TRUE[B]}, False, True, {A: GIB, B: 0}, [(77, GIB)])[0] == "unproven"


def test_growth_proves_nothing_where_several_models_are_planned_on_a_gpu():
    wanted = plan()
    wanted["instances"].append(dict(wanted["instances"][0], name="other", unit="ollama@other.service"))
    seen = without_process_bytes(TRUE, False, fresh=True, before={A: 0, B: 0})
    assert checks(check_plan(wanted, seen))["memory " + A] is None


@pytest.mark.parametrize("listed", [True, False, None])
def test_what_is_not_proven_says_what_would_prove_it_and_changes_no_healthy_service(listed):
    seen = without_process_bytes({A: 40 * GIB, B: 40 * GIB}, listed)
    result = check_plan(plan(), seen)
    assert result.verdict == "unproven"
    for entry in result.diagnosis:
        assert "PID namespace" in entry.remedy or "root" in entry.remedy
        assert not any(word in entry.remedy for word in ("estart", "OLLAMA_", "num_gpu", "Stop", "nload"))


def test_an_error_of_the_list_is_not_an_empty_list():
    seen = observations()
    seen.inventory["gpus"][1].update(processes=[], errors={"processes": {"code": 999, "name": "Unknown Error"}})
    result = check_plan(plan(), seen)
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    assert "GPU 1 (RTX A6000)" in result.diagnosis[0].evidence


def test_an_engine_that_is_not_known_proves_nothing():
    for changes in ({"engine": None}, {"stayed": None}, {"answered": None}):
        result = check_plan(plan(), observations(**changes))
        assert result.verdict == "unproven", changes
        assert "unproven" in findings(result)


def test_gpus_outside_the_plan_are_known_too():
    seen = observations(held={A: 6 * GIB + OVERHEAD}, log=None, log_missing="rotated")
    single = plan({A: 6 * GIB}, outcome="single")
    assert check_plan(single, seen).verdict == "pass"
    seen.inventory["gpus"][1].update(unsupported=["processes"])
    assert check_plan(single, seen).verdict == "pass"  # nothing is in use there
    seen.inventory["gpus"][1]["memory"]["used_bytes"] = 300 * MIB
    result = check_plan(single, seen)
    assert result.verdict == "unproven" and "GPU 1 (RTX A6000)" in result.diagnosis[0].evidence


@pytest.mark.parametrize(
    "change",
    [
        lambda seen: seen.inventory.pop("state"),
        lambda seen: seen.inventory["gpus"][0]["health"].pop("state"),
        lambda seen: seen.instances["gpu0-1"].unit.pop("ActiveState"),
        lambda seen: seen.instances["gpu0-1"].models[NAME].ps.pop("context_length"),
        lambda seen: seen.instances["gpu0-1"].models[NAME].ps.pop("size_vram"),
        lambda seen: seen.inventory["gpus"][0]["memory"].pop("free_bytes"),
    ],
    ids=["state", "health", "service", "context", "size_vram", "free"],
)
def test_every_other_answer_is_needed(change):
    seen = observations()
    change(seen)
    result = check_plan(plan(), seen)
    assert (result.verdict, set(findings(result))) == ("unproven", {"unproven"})


def test_a_process_of_another_pid_namespace_is_nobody():
    seen = observations()
    seen.inventory["gpus"][0]["processes"][0]["pid"] = PID + 1
    result = check_plan(plan(), seen)
    assert result.verdict == "fail"  # NVML tells what it holds: it is another process of the unit
    assert "unplanned_process" in findings(result)
