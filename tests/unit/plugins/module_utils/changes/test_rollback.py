# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Going back to a kept plan: which one, what keeps it from being applied, and with which variables it is."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import rollback, wanted_files
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.role_variables import settings_problems

from tests.unit.plugins.module_utils.changes.builders import applied_host, kept, model, plan

SETTINGS = {
    "ollama_multigpu_models": [],
    "ollama_multigpu_version": "0.33.3",
    "ollama_multigpu_release_url": "https://mirror.example/ollama/v0.33.3",
    "ollama_multigpu_release_checksum": "",
    "ollama_multigpu_models_dir": "/other",
    "ollama_multigpu_listen_address": "127.0.0.1",
    "ollama_multigpu_acknowledged": [],
    "ollama_multigpu_environment": {"A_TOKEN": "x"},
    "ollama_multigpu_environment_unchecked": {},
    "ollama_multigpu_measure": True,
}


def wanted(context=4096):
    return plan(model(parameters={"num_ctx": context}))


def host(in_force, *contexts, **last):
    """A host with a kept plan for each context, the last one with `last`, and the plan of one of them in force."""
    state = applied_host(wanted(in_force))
    plans = [
        kept(number, wanted_files.wanted_files(wanted(context), state)) for number, context in enumerate(contexts, 1)
    ]
    if plans:
        plans[-1].update(last)
    state["history"] = {"plans": plans, "leftovers": []}
    return state


def chosen(state, number=rollback.PREVIOUS):
    found = rollback.choose(state, number, "web1")
    return found.number, found.rolled_back_from, " ".join((found.note, *found.obstacles)).strip()


def test_the_plan_before_the_one_in_force():
    assert chosen(host(3072, 1024, 2048, 3072)) == (2, 3, "")


def test_an_empty_number_is_none():
    assert chosen(host(3072, 1024, 2048, 3072), "") == (2, 3, "")


def test_a_second_way_back_stays_where_the_first_one_led():
    state = host(1024, 3072, 1024, rolled_back_from=3)
    number, given_up, note = chosen(state)
    assert (number, given_up) == (2, None)
    assert note.startswith(
        "Plan 2 is in force since the rollback from plan 3: name an earlier plan to go back further."
    )
    assert "web1 keeps 1 (Ollama 0.32.15, 2026-11-28T22:40:00Z), 2 (" in note


def test_a_plan_that_is_in_force_and_was_never_proven_is_given_up_for_the_last_one_that_was():
    assert chosen(host(9000, 1024, 2048)) == (2, None, "")


def test_a_way_back_that_was_killed_is_completed():
    assert chosen(host(1024, 1024, 2048)) == (1, 2, "")


@pytest.mark.parametrize("number", [1, "1"])
def test_a_plan_by_its_number(number):
    assert chosen(host(3072, 1024, 2048, 3072), number) == (1, 3, "")
    assert chosen(host(1024, 1024), number) == (1, None, "")


@pytest.mark.parametrize("number", [9, "9", "x", "-1", "1.0", [1], None])
def test_an_unknown_number_is_refused_with_those_that_are_kept(number):
    found = chosen(host(1024, 1024, 2048), number)
    assert found[:2] == (None, None)
    assert found[2].startswith("web1 keeps no plan %s to go back to. web1 keeps 1 (Ollama 0.32.15" % (number,))


def test_without_history_there_is_no_way_back():
    assert chosen(host(1024))[2].startswith("web1 keeps no plan to go back to")
    assert chosen(host(1024), 1)[2].startswith("web1 keeps no plan to go back to")
    assert chosen(host(1024, 1024)) == (
        None,
        None,
        "Plan 1 is the only one that web1 keeps, and it is in force: there is none before it.",
    )


def test_a_damaged_plan_is_not_in_force():
    state = host(1024, 1024)
    state["history"]["plans"][0]["files"] = {"/etc/ollama-multigpu/plan.json": None}
    assert rollback.in_force(state) is None
    state["files"]["/etc/ollama-multigpu/plan.json"]["digest"] = None
    assert rollback.in_force(state) is None


INVENTORY = {"state": "ok", "gpus": [{"uuid": "GPU-a"}, {"uuid": "GPU-m", "mig": {"devices": [{"uuid": "MIG-1"}]}}]}


def refused(old, inventory=None, checksum="a" * 64, **settings):
    given = {**SETTINGS, **{"ollama_multigpu_" + name: value for name, value in settings.items()}}
    return rollback.obstacles(old, kept(4, []), INVENTORY if inventory is None else inventory, checksum, given)


def test_a_plan_that_can_be_applied_has_no_obstacles():
    assert refused(wanted()) == []
    old = wanted()
    old["instances"][0]["gpu_uuids"] = ["MIG-1"]
    assert refused(old) == []
    old["instances"][0]["gpu_uuids"] = []  # on the CPU
    assert refused(old, {"state": "no_driver"}) == []


@pytest.mark.parametrize("version", ["0.32.9", "0.30.1", "0.32.10-rc1", "x"])
def test_a_release_below_the_floor_stays_refused(version):
    (found,) = refused(dict(wanted(), ollama_version=version))
    assert found.startswith("Plan 4 has Ollama %s, which has known holes" % version) and "0.32.10 or later" in found


def test_a_release_that_is_not_there_needs_a_checksum():
    (found,) = refused(wanted(), checksum="")
    assert found.startswith("Plan 4 has Ollama 0.32.15, which is not on the host any more, and no checksum")


@pytest.mark.parametrize(
    "uuid, inventory", [("GPU-z", None), ("GPU-m", None), ("GPU-a", {"state": "x", "reason": "no driver."})]
)
def test_a_gpu_that_is_gone_is_named(uuid, inventory):
    old = wanted()
    old["instances"][0]["gpu_uuids"] = [uuid]
    (found,) = refused(old, inventory)
    assert "Plan 4 uses %s, which the driver does not list" % uuid in found
    assert ("(no driver)" in found) == (inventory is not None)


def test_a_gpu_that_cannot_be_used_is_named():
    old = wanted()
    old["instances"][0]["gpu_uuids"] = ["GPU-a", "GPU-z"]
    gone, useless = refused(old, {"state": "ok", "gpus": [{"uuid": "GPU-a", "mig": {"mode": "enabled"}}]})
    assert "Plan 4 uses GPU-z, which the driver does not list: go back" in gone
    assert "Plan 4 uses GPU-a, which cannot be used (MIG is enabled and no MIG device exists): go back" in useless


def test_a_plan_that_was_open_is_not_opened_again_unasked():
    """It had rules, or was acknowledged, when it was made: neither is kept with it."""
    old = wanted()
    old["instances"][0]["address"] = "0.0.0.0"
    (found,) = refused(old)
    assert found.startswith("Plan 4 listens on 0.0.0.0, which opens Ollama") and "ollama_multigpu_allow_from" in found
    assert refused(old, allow_from=["0.0.0.0/0"]) == [found]
    assert refused(old, allow_from=["192.0.2.7"]) == [] == refused(old, acknowledged="listen_address")


def test_the_checksum_of_a_release():
    state, record = host(1024, 1024), dict(kept(1, []), checksum="b" * 64)
    assert rollback.checksum_of(wanted(), record, state, SETTINGS) == "a" * 64  # of the one on the host
    state["release"]["complete"] = {}
    assert rollback.checksum_of(wanted(), record, state, SETTINGS) == "b" * 64
    # The user's is one of another release, but for one release.
    given = dict(SETTINGS, ollama_multigpu_release_checksum="c" * 64)
    assert rollback.checksum_of(wanted(), record, state, given) == "b" * 64
    given["ollama_multigpu_version"] = "0.32.15"
    assert rollback.checksum_of(wanted(), record, state, given) == "c" * 64
    record["checksum"] = "https://***@mirror.example/sha256sum.txt"
    known = rollback.checksum_of(wanted(), record, state, SETTINGS)
    assert len(known) == 64 and known not in ("a" * 64, "b" * 64)
    assert (
        rollback.checksum_of(dict(wanted(), ollama_version="0.40.0"), dict(record, checksum=None), state, SETTINGS)
        == ""
    )
    arm = dict(state, architecture="aarch64")
    address = rollback.checksum_of(wanted(), dict(record, checksum=None), arm, SETTINGS)
    assert address == "https://mirror.example/ollama/v0.32.15/sha256sum.txt"


def test_the_variables_are_those_of_the_kept_plan():
    old = wanted()
    old["instances"][0]["address"] = "0.0.0.0"
    old["advertise_address"] = "192.0.2.7"
    before = copy.deepcopy(SETTINGS)
    values = {**SETTINGS, **rollback.settings_of(old, "a" * 64, SETTINGS)}
    assert before == SETTINGS
    assert values["ollama_multigpu_models"] == [{"name": "llama3.1:8b"}]
    assert values["ollama_multigpu_version"] == "0.32.15" and values["ollama_multigpu_models_dir"] == "/models"
    assert values["ollama_multigpu_environment"] == {} and values["ollama_multigpu_measure"] is False
    assert values["ollama_multigpu_advertise_address"] == "192.0.2.7"
    # What it opens is no matter of its variables.
    assert settings_problems(values, list(values)) == []


def test_the_release_is_where_that_of_the_variables_is():
    assert rollback.release_url(SETTINGS, "0.32.15") == "https://mirror.example/ollama/v0.32.15"
    fixed = dict(SETTINGS, ollama_multigpu_release_url="https://mirror.example/latest")
    assert rollback.release_url(fixed, "0.32.15") == "https://mirror.example/latest"
