# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What changes_info answers from as much as is known, what the role's tasks take, and archives of releases."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import inputs
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.answer import answer
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives

from tests.unit.plugins.module_utils.changes.builders import (
    EXISTING,
    WANTED,
    applied_host,
    entry,
    host,
    model,
    plan,
    server,
    serving,
)

OPTIMIZED = "llama3.1:8b-optimized"
SETTINGS = {
    "ollama_multigpu_version": "0.32.15",
    "ollama_multigpu_release_url": "https://mirror.example.com/v0.32.15/",
    "ollama_multigpu_release_checksum": "sha256:" + "a" * 64,
    "ollama_multigpu_models_dir": "/models",
    "ollama_multigpu_existing": "refuse",
    "ollama_multigpu_listen_address": "127.0.0.1",
}


def asked(check_mode=False, settings=None, **options):
    values = dict({"names": [], "host": None, "plan": None, "servers": {}, "applied_plan": {}}, **options)
    return answer(dict(values, settings=dict(SETTINGS, **(settings or {}))), "a", check_mode)


def test_the_variables_alone():
    assert asked() == {"changed": False, "obstacles": [], "msg": ""}
    found = asked(names=["ollama_multigpu_modles_dir"], settings={"ollama_multigpu_version": "v1"})
    assert len(found["obstacles"]) == 2 and found["msg"] == " ".join(found["obstacles"])


def test_a_host_without_a_plan():
    found = asked(host=host(instances=[entry("gpu0")], existing=EXISTING))
    assert found["obstacles"] == []
    assert found["release"] == {
        "version": "0.32.15",
        "directory": "/usr/local/lib/ollama-multigpu/releases/0.32.15",
        "archive": "ollama-linux-amd64.tar.zst",
        "url": "https://mirror.example.com/v0.32.15/ollama-linux-amd64.tar.zst",
        "checksum": "a" * 64,
    }
    assert found["plan_input"] == {
        "environment": {},
        "own_units": ("ollama@gpu0.service",),
        "stores": ("/models/instances/gpu0", "/old/models"),
    }


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
    assert work["enable"] == work["start"] == ["ollama@gpu0.service"] and work["answer"] == ["http://127.0.0.1:11434"]
    unit = next(file for file in work["configure_files"] if file["path"] == paths.TEMPLATE_UNIT_FILE)
    assert "ExecStart=" in unit["content"] and unit["mode"] == "0644" and "target" not in unit
    assert [file["path"] for file in work["finish_files"]] == [paths.PLAN, paths.FACTS]
    assert [(entry["name"], entry["state"], entry.get("from")) for entry in work["models"]] == [
        ("llama3.1:8b", "present", None),
        (OPTIMIZED, "present", "llama3.1:8b"),
        (OPTIMIZED, "loaded", None),
    ]
    assert found["changes"][0]["reason"] == "It is not installed." and found["changes"][0]["stage"] == "install"


def test_in_check_mode_services_that_systemd_does_not_know_are_left_out():
    work = asked(check_mode=True, host=host(), plan=plan(model()))["work"]
    assert work["enable"] == work["start"] == []
    stopped = {"gpu0": server(unit={"active_state": "inactive", "needs_daemon_reload": False})}
    assert asked(check_mode=True, host=host(), plan=plan(model()), servers=stopped)["work"]["start"]


def test_the_work_of_a_host_that_is_as_planned():
    wanted = plan(model(create_as=OPTIMIZED))
    work = asked(host=applied_host(wanted), plan=wanted, servers=serving(wanted))["work"]
    assert not any(value for name, value in work.items() if name not in ("models", "present"))


def test_a_unit_that_systemd_has_not_read_again_is_reloaded():
    wanted = plan(model())
    servers = serving(wanted)
    servers["gpu0"]["unit"]["needs_daemon_reload"] = True
    work = asked(host=applied_host(wanted), plan=wanted, servers=servers)["work"]
    assert work["reload"] and work["start"] == ["ollama@gpu0.service"] and work["configure_files"] == []


def test_a_value_that_no_file_can_carry_is_an_obstacle():
    wanted = plan(model())
    wanted["instances"][0]["environment"]["A"] = "x\ny"
    assert "control character" in asked(host=host(), plan=wanted)["msg"]


def test_what_an_adopted_ollama_had_is_carried_over_unless_the_plan_decides_it():
    variables = {"OLLAMA_ORIGINS": "x", "OLLAMA_HOST": "0.0.0.0", "PATH": "/bin", "LD_PRELOAD": "/x.so"}
    state = host(existing=dict(EXISTING, environment=variables))
    wanted = type(WANTED)(**dict(vars(WANTED), adopt=True))
    carried = inputs.carried_variables(state, wanted)
    assert carried.kept == {"OLLAMA_ORIGINS": "x"}
    assert [dropped.name for dropped in carried.dropped] == ["LD_PRELOAD", "OLLAMA_HOST"]
    assert inputs.carried_variables(state, WANTED) == ({}, [])
    # What was recorded wins: the unit may be gone by then.
    adopted = host(adopted={"environment": {"OLLAMA_ORIGINS": "y"}}, existing=state["existing"])
    assert inputs.carried_variables(adopted, WANTED).kept == {"OLLAMA_ORIGINS": "y"}
    assert inputs.plan_input(state, wanted).own_units == ("ollama.service",)


@pytest.mark.parametrize(
    "version, architecture, given, expected",
    [
        ("0.32.15", "amd64", "", archives.CHECKSUMS["0.32.15"]["amd64"]),
        ("0.32.15", "arm64", "", "http://x/v/sha256sum.txt"),
        ("0.32.15", "amd64", "sha256:" + "c" * 64, "c" * 64),
        ("0.32.15", "amd64", "http://y/sums", "http://y/sums"),
        ("0.99.0", "amd64", "", ""),
        ("0.32.15", "", "", ""),
    ],
)
def test_the_checksum_of_an_archive(version, architecture, given, expected):
    assert archives.checksum(version, architecture, given, "http://x/v/a.tar.zst") == expected


def test_releases_with_known_holes():
    assert [version for version in ("0.31.1", "0.31.2-rc1", "0.31.2", "0.100.0") if archives.allowed(version)] == [
        "0.31.2",
        "0.100.0",
    ]
