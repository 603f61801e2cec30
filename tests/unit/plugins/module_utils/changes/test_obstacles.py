# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What on a host stands in the way of a plan."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import obstacles
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.program_units import Checking
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import (
    EXISTING,
    WANTED,
    applied_host,
    difference,
    host,
    model,
    plan,
    serving,
)


def test_an_empty_host_has_no_obstacle():
    assert obstacles.plan_obstacles(plan(model()), host()) == []


@pytest.mark.parametrize(
    "state, word",
    [
        ({"existing": EXISTING}, "ollama_multigpu_existing to adopt"),
        ({"command": "foreign"}, "/usr/local/bin/ollama"),
        ({"zstd": False}, "package zstd"),
        (
            {
                "listeners": [
                    {"address": "0.0.0.0", "port": 11434, "pid": 7, "process": "nginx", "unit": "nginx.service"}
                ]
            },
            "nginx (pid 7) of nginx.service",
        ),
        (
            {"listeners": [{"address": "127.0.0.1", "port": 11434, "pid": None, "process": None, "unit": None}]},
            "another process",
        ),
    ],
)
def test_each_obstacle_gets_one_sentence(state, word):
    found = obstacles.plan_obstacles(plan(model()), host(**state))
    assert len(found) == 1 and word in found[0]


@pytest.mark.parametrize(
    "state",
    [
        {
            "listeners": [
                {"address": "127.0.0.1", "port": 11434, "pid": 7, "process": "ollama", "unit": "ollama@gpu0-1.service"}
            ]
        },  # one of ours
        {
            "listeners": [
                {"address": "192.0.2.1", "port": 11434, "pid": 7, "process": "nginx", "unit": "nginx.service"}
            ]
        },  # another address
        {"zstd": False, "release": {"complete": {"0.32.15": "x"}}},
        {"existing": EXISTING, "adopted": {"unit": "ollama.service"}},
        {"command": "ours"},
    ],
)
def test_what_is_no_obstacle(state):
    assert obstacles.plan_obstacles(plan(model()), host(**state)) == []


def test_adopting_frees_the_port():
    holder = [{"address": "127.0.0.1", "port": 11434, "pid": 7, "process": "ollama", "unit": "ollama.service"}]
    state = host(existing=EXISTING, listeners=holder, command="foreign")
    assert obstacles.plan_obstacles(plan(model()), state, True) == []


def test_brackets_are_no_part_of_an_address():
    wanted = plan(model())
    wanted["instances"][0]["address"] = "[::1]"
    listener = {"address": "::1", "port": 11434, "pid": 7, "process": "nginx", "unit": None}
    assert obstacles.plan_obstacles(wanted, host(listeners=[listener]))


def test_a_host_that_can_run_the_services():
    assert obstacles.host_obstacles(host(), WANTED, "a") == []
    assert obstacles.host_obstacles(host(address_available=None), WANTED, "a") == []


@pytest.mark.parametrize(
    "state, settings, word",
    [
        ({"systemd": False}, {}, "a is not run by systemd"),
        ({"architecture": "riscv64"}, {}, "a riscv64 machine; Ollama has releases for x86_64 and aarch64"),
        ({}, {"checksum": ""}, "no checksum of Ollama 0.32.15 for amd64"),
        (
            {"architecture": "aarch64"},
            {"checksum": "http://mirror/v0.32.15/sha256sum.txt"},
            "for other machines than arm64 only, and http://mirror/v0.32.15/sha256sum.txt would vouch for itself",
        ),
        ({"address_available": False}, {"listen_address": "192.0.2.7"}, "192.0.2.7, which is no address of a"),
    ],
)
def test_a_host_that_cannot_run_the_services(state, settings, word):
    wanted = type(WANTED)(**dict(vars(WANTED), **settings))
    (sentence,) = obstacles.host_obstacles(host(**state), wanted, "a", ("0.32.15",))
    assert word in sentence and sentence.endswith(".")


@pytest.mark.parametrize(
    "path, found, words",
    [
        ("/models/instances", {"kind": "link", "owner": "root", "target": "/home"}, "is a link to /home, and the role"),
        ("/models/instances/gpu0", {"kind": "link", "owner": "root", "target": "/etc/x"}, "is a link to /etc/x"),
        ("/models/instances/gpu0", {"owner": "root"}, "belongs to root:ollama, not to ollama:ollama"),
        ("/models/instances/gpu0", {"owner": "998"}, "chown -R ollama:ollama /models/instances/gpu0"),
        ("/models/instances", {"owner": "ollama"}, "not to root:root, and the role gives nothing that exists"),
        ("/models", {"group": "staff"}, "(chown root:root /models)"),
        (paths.CONFIGURATION, {"owner": "deploy"}, "belongs to deploy:root, not to root:root"),
        ("/models", {"kind": "absent", "problem": "/models may be written by every user."}, "by every user"),
        ("/models/instances/gpu0", {"kind": "file"}, "is a file, and the role needs a directory there: move it away"),
        (paths.PLAN, {"kind": "directory"}, "is a directory, and the role needs a file"),
        (paths.environment_file("gpu0"), {"kind": "other"}, "is a special file, such as a FIFO"),
        (paths.CURRENT, {"kind": "directory"}, "is a directory, and the role needs a link"),
    ],
)
def test_what_lies_in_the_way_of_a_file_is_said_before_anything_is_changed(path, found, words):
    wanted = plan(model())
    state = applied_host(wanted)
    state["files"][path].update(found)
    (obstacle,) = difference(wanted, state, serving(wanted)).obstacles
    assert obstacle.startswith(path) and words in obstacle


def test_what_lies_in_the_way_of_a_file_of_the_metrics_is_said():
    wanted, checking = plan(model()), Checking(metrics_directory="/srv/metrics")
    state = applied_host(wanted)
    state["files"][paths.METRICS_SETTINGS] = dict(state["files"]["/models"])
    (obstacle,) = difference(wanted, state, serving(wanted), checking=checking).obstacles
    assert obstacle.startswith(paths.METRICS_SETTINGS + " is a directory, and the role needs a file there")


@pytest.mark.parametrize("path", [paths.CURRENT, paths.COMMAND, paths.PLAN])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_files_and_links_in_the_place_of_others_are_replaced(path, kind):
    wanted = plan(model())
    state = applied_host(wanted)
    state["files"][path].update(kind=kind, target="elsewhere")
    assert difference(wanted, state, serving(wanted)).obstacles == ()


def test_a_store_that_the_plan_does_not_have_is_one_of_the_service_user():
    """It would be pruned with all that is in it."""
    wanted = plan(model())
    state = applied_host(wanted)
    state["files"]["/models/instances/www"] = dict(state["files"]["/models/instances"])
    (obstacle,) = difference(wanted, state, serving(wanted)).obstacles
    assert obstacle.startswith("/models/instances/www belongs to root:root, not to ollama:ollama")


def test_what_is_wrong_with_a_directory_is_said_once():
    wanted = plan(model())
    state = applied_host(wanted)
    problem = "/models belongs to ollama, who could exchange what is in it."
    state["files"]["/models"].update(owner="ollama")
    for path in ("/models/instances", "/models/instances/gpu0"):
        state["files"][path].update(kind="absent", problem=problem)
    (obstacle,) = difference(wanted, state, serving(wanted)).obstacles
    assert obstacle.startswith("/models belongs to ollama:root, not to root:root")


@pytest.mark.parametrize(
    "found, words",
    [
        ({"entries": ["alice", "bob"]}, "is /models, which holds other things (alice, bob): give a directory of its"),
        ({"path": "/etc"}, "leads to /etc, which is a directory of the system or below one; give one of its own"),
        ({"path": "/tmp/models"}, "leads to /tmp/models, which is a directory of the system or below one"),
    ],
)
def test_a_models_directory_of_others_is_refused(found, words):
    wanted = plan(model())
    state = applied_host(wanted)
    state["models_dir"].update(found)
    (obstacle,) = difference(wanted, state, serving(wanted)).obstacles
    assert obstacle.startswith("ollama_multigpu_models_dir ") and words in obstacle


def test_a_directory_that_the_service_user_cannot_enter_is_an_obstacle():
    state = host()
    state["models_dir"] = dict(state["models_dir"], closed="/srv/closed")
    (found,) = obstacles.file_obstacles([], plan(model()), state)
    assert "The user ollama cannot enter /srv/closed" in found and "chmod o+x /srv/closed" in found


def test_the_fetch_server_of_a_run_that_was_killed_is_in_nobodys_way():
    held = {"address": "127.0.0.1", "port": 11434, "pid": 7, "process": "ollama", "unit": paths.FETCH_UNIT}
    assert obstacles.plan_obstacles(plan(model()), host(listeners=[held])) == []
    assert obstacles.plan_obstacles(plan(model()), host(listeners=[dict(held, unit="x.service")])) != []
