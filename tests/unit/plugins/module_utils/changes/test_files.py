# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files, directories and links: what differs from the plan, and their texts."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import applied_host, difference, entry, model, plan, serving, told

OPTIMIZED = "llama3.1:8b-optimized"


@pytest.fixture(name="wanted")
def _wanted():
    """A plan of one instance with one optimized model."""
    return plan(model(create_as=OPTIMIZED))


@pytest.mark.parametrize(
    "changed, word",
    [
        ({"kind": "absent"}, "not there"),
        ({"kind": "link"}, "is a link"),
        ({"digest": "0" * 64}, "content"),
        ({"owner": "ollama"}, "owner is ollama"),
        ({"group": "root"}, "group is root"),
        ({"mode": "0644"}, "mode is 0644"),
    ],
)
def test_a_file_that_differs_is_written(wanted, changed, word):
    state = applied_host(wanted)
    path = paths.environment_file("gpu0")
    state["files"][path].update(changed)
    changes = difference(wanted, state, serving(wanted))
    assert told(changes) == [("write", "file", path)] and word in changes.changes[0].reason
    assert [file.path for file in changes.files] == [path]


def test_a_changed_plan_is_written_last(wanted):
    state = applied_host(wanted)
    state["files"][paths.PLAN]["digest"] = "0" * 64
    changes = difference(wanted, state, serving(wanted))
    assert told(changes) == [("write", "plan", paths.PLAN)] and changes.files[0].stage == "finish"
    assert changes.files[0].mode == "0640"


def test_drop_ins_and_environments_of_instances_that_are_gone_are_removed(wanted):
    drop_in = {"path": "/etc/systemd/system/ollama@gpu0.service.d/x.conf", "unit": "ollama@gpu0.service"}
    state = applied_host(wanted, drop_ins=[drop_in])
    state["instances"].append(entry("gpu7", store=False, active=False, enabled=False))
    changes = difference(wanted, state, serving(wanted))
    assert told(changes) == [
        ("remove", "file", drop_in["path"]),
        ("remove", "file", paths.environment_file("gpu7")),
        ("remove", "file", paths.instance_release("gpu7")),
        ("restart", "instance", "ollama@gpu0.service"),
        ("load", "model", OPTIMIZED),
    ]
    assert [(file.state, file.backup) for file in changes.files] == [
        ("absent", True),
        ("absent", False),
        ("absent", False),
    ]
    # An environment file may hold passwords, which a difference would show.
    assert [file.diff for file in changes.files] == [True, False, False]


def test_missing_parents_of_the_models_directory_are_made_and_others_left(wanted):
    wanted["models_dir"] = "/srv/data/models"
    state = applied_host(plan(model(create_as=OPTIMIZED)))
    state["files"]["/srv"] = {"kind": "directory"}
    state["files"]["/srv/data"] = {"kind": "absent"}
    made = [change.what for change in difference(wanted, state).of("write", "directory")]
    assert made[:2] == ["/srv/data", "/srv/data/models"]


def test_the_directory_of_ansible_is_left_as_it_is_where_it_exists(wanted):
    state = applied_host(wanted)
    for path in ("/etc/ansible", paths.FACTS_DIRECTORY):
        state["files"][path] = {"kind": "directory", "owner": "root", "group": "deploy", "mode": "0750"}
    assert difference(wanted, state, serving(wanted)).changes == ()
    state["files"]["/etc/ansible"] = {"kind": "absent"}
    made = [("write", "record", paths.MADE), ("write", "directory", "/etc/ansible")]
    assert told(difference(wanted, state, serving(wanted))) == made


@pytest.mark.parametrize("path", [paths.CURRENT, paths.COMMAND])
def test_a_regular_file_in_the_place_of_a_link_is_replaced(wanted, path):
    state = applied_host(wanted)
    state["files"][path].update(kind="file", target=None)
    (link,) = difference(wanted, state, serving(wanted)).files
    assert (link.path, link.state, link.force) == (path, "link", True)
