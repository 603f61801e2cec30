# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role's tasks loop over."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import task_loops
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.schema import Change, Changes
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import applied_host, host, model, plan, server, serving
from tests.unit.plugins.module_utils.changes.test_module_result import asked

OPTIMIZED = "llama3.1:8b-optimized"


def test_the_work_of_an_untouched_host():
    wanted = plan(model(create_as=OPTIMIZED))
    found = asked(host=host(), plan=wanted)
    work = found["work"]
    assert found["obstacles"] == [] and work["pending"]
    assert (work["fetch_release"], work["create_group"], work["adopt_command"]) == (True, True, False)
    assert work["user"] == {"group": "ollama", "home": paths.HOME, "shell": "/bin/false", "groups": ["render", "video"]}
    assert {file["state"] for file in work["fetch_files"] if file["path"] != paths.MADE} == {"directory"}
    (switch,) = work["switches"]
    assert switch["title"] == "gpu0" and switch["enable"] == switch["restart"] == switch["instances"] == ["gpu0"]
    assert switch["reload"] and switch["stop"] == [] and any("is not known to systemd" in why for why in switch["why"])
    unit = next(file for file in switch["files"] if file["path"] == paths.TEMPLATE_UNIT_FILE)
    assert "ExecStart=" in unit["content"] and unit["mode"] == "0644" and "target" not in unit
    finish = [file["path"] for file in work["finish_files"]]
    assert finish[:2] == [paths.CURRENT, paths.COMMAND] and finish[-3:] == [paths.PLAN, paths.FACTS, paths.BEFORE]
    assert [(entry["name"], entry["state"], entry.get("from")) for entry in switch["models"]] == [
        ("llama3.1:8b", "present", None),
        (OPTIMIZED, "present", "llama3.1:8b"),
        ("llama3.1:8b", "present", None),
        (OPTIMIZED, "loaded", None),
    ]
    assert switch["models"][2]["same_as"] == OPTIMIZED and switch["models"][3]["aliases"] == ["llama3.1:8b"]
    assert found["changes"][0]["reason"] == "It is not installed." and found["changes"][0]["stage"] == "install"


def test_what_the_plan_does_not_give_is_unloaded_in_the_switch_and_deleted_at_the_end():
    wanted = plan(model())
    servers = serving(wanted)
    servers["gpu0"]["models"].append({"name": "other:latest", "digest": "e" * 64})
    work = asked(host=applied_host(wanted), plan=wanted, servers=servers)["work"]
    assert work["switches"] == [] and [entry["name"] for entry in work["prune_models"]] == ["other:latest"]
    servers["gpu0"]["loaded"].append({"name": "other:latest", "digest": "e" * 64})
    work = asked(host=applied_host(wanted), plan=wanted, servers=servers)["work"]
    (switch,) = work["switches"]
    assert switch["restart"] == [] and [entry["name"] for entry in work["prune_models"]] == ["other:latest"]
    unloaded = [entry["name"] for entry in switch["models"] if entry["state"] == "unloaded"]
    assert unloaded == ["other:latest"] and not [one for one in switch["models"] if one["state"] == "absent"]


def test_the_work_of_a_host_that_is_as_planned():
    wanted = plan(model(create_as=OPTIMIZED))
    work = asked(host=applied_host(wanted), plan=wanted, servers=serving(wanted))["work"]
    assert not any(value for name, value in work.items() if name != "present")


def test_a_unit_that_systemd_has_not_read_again_is_reloaded():
    wanted = plan(model())
    servers = serving(wanted)
    servers["gpu0"]["unit"]["needs_daemon_reload"] = True
    work = asked(host=applied_host(wanted), plan=wanted, servers=servers)["work"]
    (switch,) = work["switches"]
    assert switch["reload"] and switch["restart"] == ["gpu0"] and switch["files"] == []


def test_verification_is_pending_only_for_what_changes_what_runs():
    wanted = plan(model(create_as=OPTIMIZED))
    state = applied_host(wanted)
    state["release"]["complete"]["0.32.14"] = "d" * 64
    state["files"]["/models/instances"]["mode"] = "0711"
    found = asked(host=state, plan=wanted, servers=serving(wanted))
    assert [change["kind"] for change in found["changes"]] == ["write", "prune"] and not found["work"]["pending"]
    state["release"]["complete"] = {}
    assert asked(host=state, plan=wanted, servers=serving(wanted))["work"]["pending"]
    missing = asked(host=applied_host(wanted), plan=wanted, servers={"gpu0": server()})
    assert missing["work"]["pending"] and {change["object"] for change in missing["changes"]} == {"model", "store"}
    stopped = {"gpu0": dict(serving(wanted)["gpu0"], unit=None)}
    assert asked(host=applied_host(wanted), plan=wanted, servers=stopped)["work"]["pending"]


@pytest.mark.parametrize(
    ("kind", "pending"), [("load", True), ("open", True), ("write", False), ("close", False), ("narrow", False)]
)
def test_clients_that_will_be_let_through_are_verified_only_then(kind, pending):
    changes = Changes(changes=(Change(kind, "firewall", "ufw", "It has no opening."),))
    assert task_loops.work(changes, plan(model()), {})["pending"] is pending


def test_a_draft_model_that_is_named_goes_along():
    found = asked(host=host(), plan=plan(model(create_as=OPTIMIZED, draft={"name": "heads"})))
    named = {
        entry["name"]: entry.get("draft")
        for entry in found["work"]["switches"][0]["models"]
        if entry["state"] == "present"
    }
    assert named[OPTIMIZED] == "heads" and named["heads"] is None


def test_what_the_fetch_stage_takes():
    wanted = plan(model("tiny", OPTIMIZED))
    wanted["instances"][0]["environment"] = {"HTTPS_PROXY": "http://u:secret@p", "NO_PROXY": "a", "OLLAMA_DEBUG": "1"}
    values = {"HTTPS_PROXY": "http://u:secret@p"}
    work = asked(host=host(), plan=wanted, servers={}, secrets=values)["work"]
    assert [(one["name"], one["instance"], one["store"]) for one in work["fetch_models"]] == [
        ("tiny", "fetch", "/models/fetch"),
        (OPTIMIZED, "fetch", "/models/fetch"),
    ]
    assert work["fetch_environment"] == {"HTTPS_PROXY": "(hidden)", "NO_PROXY": "a"}
    made = [one["path"] for one in work["fetch_files"]]
    assert made.index("/models") < made.index("/models/fetch") and work["stop_fetch_server"] == ""
    assert not [one for one in work["switches"][0]["files"] if one["state"] == "directory"]
    done = asked(host=applied_host(wanted, values), plan=wanted, servers=serving(wanted), secrets=values)["work"]
    assert done["fetch_models"] == done["fetch_files"] == []


def test_a_fetch_server_that_a_killed_run_left_is_stopped():
    wanted = plan(model())
    found = asked(host=applied_host(wanted, fetch_server=True), plan=wanted, servers=serving(wanted))
    assert found["work"]["stop_fetch_server"] == "ollama-fetch.service" and not found["work"]["pending"]


def test_the_timer_of_the_checks_starts_at_the_end_and_stops_at_the_beginning():
    wanted = plan(model())
    state = applied_host(wanted, check_timer={"active": False, "enabled": False})
    started = asked(host=state, plan=wanted, servers=serving(wanted))["work"]
    assert started["enable_timer"] == ["ollama-check.timer"] and not started["switches"] and not started["pending"]
    off = {"ollama_multigpu_check_interval": 0}
    stopped = asked(settings=off, host=applied_host(wanted), plan=wanted, servers=serving(wanted))["work"]
    (switch,) = stopped["switches"]
    assert stopped["disable_timer"] == ["ollama-check.timer"] and switch["reload"] and not switch["restart"]
    (file,) = switch["files"]
    assert file == {
        "path": "/etc/systemd/system/ollama-check.timer",
        "state": "absent",
        "backup": False,
        "diff": False,
        "force": False,
    }
