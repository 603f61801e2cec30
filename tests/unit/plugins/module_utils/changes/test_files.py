# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files, directories and links: what differs from the plan, and their texts."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import files
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import (
    applied_host,
    difference,
    entry,
    host,
    model,
    plan,
    serving,
    told,
)

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


def test_only_the_store_of_an_instance_is_not_the_administrators(wanted):
    wanted["models_dir"] = "/srv/data/models"
    directories = [file for file in files.wanted_files(wanted, host()) if file.state == "directory"]
    assert {(file.owner, file.group, file.mode) for file in directories[:-2]} == {("root", "root", "0755")}
    assert [file.path for file in directories[-2:]] == ["/srv/data/models/fetch", wanted["instances"][0]["store"]]
    assert {(file.owner, file.group, file.mode) for file in directories[-2:]} == {("ollama", "ollama", "0750")}
    assert {file.stage for file in directories} == {"fetch"}


def test_the_text_of_files_says_what_the_plan_says(wanted):
    wanted["instances"][0]["environment"] = {"OLLAMA_EDITOR": 'two "words"', "OLLAMA_DEBUG": 1}
    texts = {file.path: file.content for file in files.wanted_files(wanted, host())}
    assert texts[paths.environment_file("gpu0")].splitlines()[1:] == [
        'OLLAMA_DEBUG="1"',
        'OLLAMA_EDITOR="two \\"words\\""',
    ]
    unit = texts[paths.TEMPLATE_UNIT_FILE]
    assert "ReadWritePaths=/models/instances/%i\n" in unit and "Environment=HOME=/models/instances/%i\n" in unit
    assert not re.search("@[a-z]+@", unit)
    assert "ollama-gpus.service" in unit and "ollama-ready@%i.service" in unit


def test_a_value_that_no_file_can_carry_is_an_error(wanted):
    wanted["instances"][0]["environment"] = {"A": "x\ny"}
    with pytest.raises(ValueError, match="control character"):
        difference(wanted, host())


def test_secret_values_are_in_the_environment_files_alone(wanted):
    shown = {"OLLAMA_DEBUG": "1", "A_TOKEN": "(hidden)"}
    path = paths.environment_file("gpu0")
    for environment in (shown, dict(shown, A_TOKEN='MARK "1"')):
        wanted["instances"][0]["environment"] = environment
        found = files.wanted_files(wanted, host(), {"A_TOKEN": 'MARK "1"', "OTHER": "MARK"})
        assert "MARK" not in str(found)
        (hidden,) = [file for file in found if file.path == path]
        entries = [{"path": file.path, "content": file.content} for file in found if file.content]
        filled = {entry["path"]: entry["content"] for entry in files.filled_files(entries, {"A_TOKEN": 'MARK "1"'})}
        assert hidden.digest == files.content_digest(filled[path])
        assert filled.pop(path).splitlines()[1:] == ['A_TOKEN="MARK \\"1\\""', 'OLLAMA_DEBUG="1"']
        assert filled == {entry["path"]: entry["content"] for entry in entries if entry["path"] != path}


def test_a_secret_value_that_is_not_known_is_an_error(wanted):
    wanted["instances"][0]["environment"] = {"A_TOKEN": "(hidden)"}
    with pytest.raises(ValueError, match="values of A_TOKEN are hidden"):
        files.wanted_files(wanted, host())
    directory = {"path": paths.ENVIRONMENT_DIRECTORY, "state": "directory"}
    assert files.filled_files([directory], {}) == [directory]


def test_the_directory_of_ansible_is_left_as_it_is_where_it_exists(wanted):
    state = applied_host(wanted)
    for path in ("/etc/ansible", paths.FACTS_DIRECTORY):
        state["files"][path] = {"kind": "directory", "owner": "root", "group": "deploy", "mode": "0750"}
    assert difference(wanted, state, serving(wanted)).changes == ()
    state["files"]["/etc/ansible"] = {"kind": "absent"}
    made = [("write", "record", paths.MADE), ("write", "directory", "/etc/ansible")]
    assert told(difference(wanted, state, serving(wanted))) == made


def test_directories_that_are_made_outside_our_own_are_written_down_before(wanted):
    state = applied_host(wanted, made=["/srv/before"])
    state["files"][paths.FACTS_DIRECTORY] = {"kind": "absent"}
    listed = [file for file in files.wanted_files(wanted, state) if file.state != "link"]
    paths_listed = [file.path for file in listed]
    made = listed[paths_listed.index(paths.MADE)]
    assert json.loads(made.content) == {"directories": ["/etc/ansible/facts.d", "/srv/before"]}
    assert paths_listed.index(paths.MADE) < paths_listed.index(paths.FACTS_DIRECTORY)
    assert paths.MADE not in [file.path for file in files.wanted_files(wanted, applied_host(wanted, made=[]))]


@pytest.mark.parametrize("path", [paths.CURRENT, paths.COMMAND])
def test_a_regular_file_in_the_place_of_a_link_is_replaced(wanted, path):
    state = applied_host(wanted)
    state["files"][path].update(kind="file", target=None)
    (link,) = difference(wanted, state, serving(wanted)).files
    assert (link.path, link.state, link.force) == (path, "link", True)


def test_each_instance_has_its_plan_beside_its_environment(wanted):
    wanted["instances"][0]["environment"]["A_TOKEN"] = "(hidden)"
    listed = files.wanted_files(wanted, host(), {"A_TOKEN": "x"})
    (found,) = [one for one in listed if one.path == paths.instance_plan("gpu0")]
    assert (found.mode, found.owner, found.stage) == ("0640", "root", "switch")
    kept = json.loads(found.content)
    assert kept["instances"] == wanted["instances"] and kept["ollama_version"] == "0.32.15"
    state = applied_host(wanted, {"A_TOKEN": "x"})
    state["files"]["/etc/ollama-multigpu/instances/gpu9.json"] = dict(state["files"][paths.PLAN])
    changes = difference(wanted, state, secrets={"A_TOKEN": "x"})
    assert ("remove", "file", "/etc/ollama-multigpu/instances/gpu9.json") in told(changes)


def test_a_figure_of_the_moment_changes_no_plan_of_an_instance(wanted):
    """It would be written anew at each run."""
    before = files.instance_plan_file(wanted, "gpu0")
    wanted["warnings"] = ["a warning"]
    wanted["host_memory"] = {"available_bytes": 1, "swap_bytes": 1, "notes": []}
    assert files.instance_plan_file(wanted, "gpu0") == before
