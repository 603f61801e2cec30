# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role's tasks loop over."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import applied_host, host, model, plan, server, serving
from tests.unit.plugins.module_utils.changes.test_module_result import asked

OPTIMIZED = "llama3.1:8b-optimized"


def test_the_work_of_an_untouched_host():
    wanted = plan(model(create_as=OPTIMIZED))
    found = asked(host=host(), plan=wanted)
    work = found["work"]
    assert found["obstacles"] == [] and work["pending"] and work["configure"] and work["reload"]
    assert (work["fetch_release"], work["create_group"], work["adopt_command"]) == (True, True, False)
    assert work["create_user"] == {
        "group": "ollama",
        "home": paths.HOME,
        "shell": "/bin/false",
        "groups": ["render", "video"],
    }
    assert work["enable"] == work["start"] == ["ollama@gpu0.service"] and work["answer"] == [
        {"unit": "ollama@gpu0.service", "url": "http://127.0.0.1:11434"}
    ]
    unit = next(file for file in work["configure_files"] if file["path"] == paths.TEMPLATE_UNIT_FILE)
    assert "ExecStart=" in unit["content"] and unit["mode"] == "0644" and "target" not in unit
    assert [file["path"] for file in work["finish_files"]] == [paths.PLAN, paths.FACTS]
    assert [(entry["name"], entry["state"], entry.get("from")) for entry in work["models"]] == [
        ("llama3.1:8b", "present", None),
        (OPTIMIZED, "present", "llama3.1:8b"),
        ("llama3.1:8b", "present", None),
        (OPTIMIZED, "loaded", None),
    ]
    assert work["models"][2]["same_as"] == OPTIMIZED and work["models"][3]["aliases"] == ["llama3.1:8b"]
    assert found["changes"][0]["reason"] == "It is not installed." and found["changes"][0]["stage"] == "install"


def test_in_check_mode_services_that_systemd_does_not_know_are_left_out():
    work = asked(check_mode=True, host=host(), plan=plan(model()))["work"]
    assert work["enable"] == work["start"] == []
    stopped = {"gpu0": server(unit={"active_state": "inactive", "needs_daemon_reload": False})}
    assert asked(check_mode=True, host=host(), plan=plan(model()), servers=stopped)["work"]["start"]


def test_the_work_of_a_host_that_is_as_planned():
    wanted = plan(model(create_as=OPTIMIZED))
    work = asked(host=applied_host(wanted), plan=wanted, servers=serving(wanted))["work"]
    assert not any(value for name, value in work.items() if name != "present")


def test_a_unit_that_systemd_has_not_read_again_is_reloaded():
    wanted = plan(model())
    servers = serving(wanted)
    servers["gpu0"]["unit"]["needs_daemon_reload"] = True
    work = asked(host=applied_host(wanted), plan=wanted, servers=servers)["work"]
    assert work["reload"] and work["start"] == ["ollama@gpu0.service"] and work["configure_files"] == []


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


def test_only_what_is_started_again_is_stopped_before():
    wanted = plan(model(), port=11435)
    wanted["instances"] += plan(model("m2"), name="gpu1")["instances"]
    before = plan(model())
    servers = serving(before)
    servers["gpu0"]["environment"]["differences"] = [{"name": "OLLAMA_HOST", "difference": "other_than_planned"}]
    work = asked(host=applied_host(before), plan=wanted, servers=servers)["work"]
    assert work["stop_first"] == ["ollama@gpu0.service"] and set(work["start"]) >= {"ollama@gpu0.service"}
    assert asked(host=applied_host(before), plan=before, servers=serving(before))["work"]["stop_first"] == []


def test_a_draft_model_that_is_named_goes_along():
    found = asked(host=host(), plan=plan(model(create_as=OPTIMIZED, draft={"name": "heads"})))
    named = {entry["name"]: entry.get("draft") for entry in found["work"]["models"] if entry["state"] == "present"}
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
    assert not [one for one in work["configure_files"] if one["state"] == "directory"]
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
    assert started["enable_timer"] == ["ollama-check.timer"] and not started["enable"] and not started["pending"]
    off = {"ollama_multigpu_check_interval": 0}
    stopped = asked(settings=off, host=applied_host(wanted), plan=wanted, servers=serving(wanted))["work"]
    assert stopped["disable_timer"] == ["ollama-check.timer"] and stopped["reload"] and not stopped["start"]
    (file,) = stopped["configure_files"]
    assert file == {
        "path": "/etc/systemd/system/ollama-check.timer",
        "state": "absent",
        "backup": False,
        "diff": False,
        "force": False,
    }
