# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files, directories and links that a plan needs, and their texts."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import wanted_files
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.module_utils.changes.builders import applied_host, difference, host, model, plan, told

OPTIMIZED = "llama3.1:8b-optimized"


@pytest.fixture(name="wanted")
def _wanted():
    """A plan of one instance with one optimized model."""
    return plan(model(create_as=OPTIMIZED))


def test_only_the_store_of_an_instance_is_not_the_administrators(wanted):
    wanted["models_dir"] = "/srv/data/models"
    directories = [file for file in wanted_files.wanted_files(wanted, host()) if file.state == "directory"]
    assert {(file.owner, file.group, file.mode) for file in directories[:-2]} == {("root", "root", "0755")}
    assert [file.path for file in directories[-2:]] == ["/srv/data/models/fetch", wanted["instances"][0]["store"]]
    assert {(file.owner, file.group, file.mode) for file in directories[-2:]} == {("ollama", "ollama", "0750")}
    assert {file.stage for file in directories} == {"fetch"}


def test_the_text_of_files_says_what_the_plan_says(wanted):
    wanted["instances"][0]["environment"] = {"OLLAMA_EDITOR": 'two "words"', "OLLAMA_DEBUG": 1}
    texts = {file.path: file.content for file in wanted_files.wanted_files(wanted, host())}
    assert texts[paths.environment_file("gpu0")].splitlines()[1:] == [
        'OLLAMA_DEBUG="1"',
        'OLLAMA_EDITOR="two \\"words\\""',
    ]
    unit = texts[paths.TEMPLATE_UNIT_FILE]
    assert "ReadWritePaths=/models/instances/%i\n" in unit and "Environment=HOME=/models/instances/%i\n" in unit
    assert not re.search("@[a-z]+@", unit)
    assert "ollama-gpus.service" in unit and "ollama-ready@%i.service" in unit


def test_a_home_that_leads_to_the_stores_does_not_hide_them(wanted):
    state = host()
    state["models_dir"]["homes"] = ["/models", "/root"]
    (unit,) = [one for one in wanted_files.wanted_files(wanted, state) if one.path == paths.TEMPLATE_UNIT_FILE]
    assert "ProtectHome=tmpfs\nBindPaths=/models/instances/%i\n" in unit.content


def test_a_value_that_no_file_can_carry_is_an_error(wanted):
    wanted["instances"][0]["environment"] = {"A": "x\ny"}
    with pytest.raises(ValueError, match="control character"):
        difference(wanted, host())


def test_secret_values_are_in_the_environment_files_alone(wanted):
    shown = {"OLLAMA_DEBUG": "1", "A_TOKEN": "(hidden)"}
    path = paths.environment_file("gpu0")
    for environment in (shown, dict(shown, A_TOKEN='MARK "1"')):
        wanted["instances"][0]["environment"] = environment
        found = wanted_files.wanted_files(wanted, host(), {"A_TOKEN": 'MARK "1"', "OTHER": "MARK"})
        assert "MARK" not in str(found)
        (hidden,) = [file for file in found if file.path == path]
        entries = [{"path": file.path, "content": file.content} for file in found if file.content]
        filled = {
            entry["path"]: entry["content"] for entry in wanted_files.filled_files(entries, {"A_TOKEN": 'MARK "1"'})
        }
        assert hidden.digest == wanted_files.content_digest(filled[path])
        assert filled.pop(path).splitlines()[1:] == ['A_TOKEN="MARK \\"1\\""', 'OLLAMA_DEBUG="1"']
        assert filled == {entry["path"]: entry["content"] for entry in entries if entry["path"] != path}


def test_a_secret_value_that_is_not_known_is_an_error(wanted):
    wanted["instances"][0]["environment"] = {"A_TOKEN": "(hidden)"}
    with pytest.raises(ValueError, match="values of A_TOKEN are hidden"):
        wanted_files.wanted_files(wanted, host())
    directory = {"path": paths.ENVIRONMENT_DIRECTORY, "state": "directory"}
    assert wanted_files.filled_files([directory], {}) == [directory]


def test_directories_that_are_made_outside_our_own_are_written_down_before(wanted):
    state = applied_host(wanted, made=["/srv/before"])
    state["files"][paths.FACTS_DIRECTORY] = {"kind": "absent"}
    listed = [file for file in wanted_files.wanted_files(wanted, state) if file.state != "link"]
    paths_listed = [file.path for file in listed]
    made = listed[paths_listed.index(paths.MADE)]
    assert json.loads(made.content) == {"directories": ["/etc/ansible/facts.d", "/srv/before"]}
    assert paths_listed.index(paths.MADE) < paths_listed.index(paths.FACTS_DIRECTORY)
    assert paths.MADE not in [file.path for file in wanted_files.wanted_files(wanted, applied_host(wanted, made=[]))]


def test_each_instance_has_its_plan_beside_its_environment(wanted):
    wanted["instances"][0]["environment"]["A_TOKEN"] = "(hidden)"
    listed = wanted_files.wanted_files(wanted, host(), {"A_TOKEN": "x"})
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
    before = wanted_files.instance_plan_file(wanted, "gpu0")
    wanted["warnings"] = ["a warning"]
    wanted["host_memory"] = {"available_bytes": 1, "swap_bytes": 1, "notes": []}
    assert wanted_files.instance_plan_file(wanted, "gpu0") == before
