# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""report as Ansible runs it: three files beside each other, from the variables of all hosts of the play."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import ControllerFileError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.files import ReportFiles

from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import Page, report_of, unreachable, variables


def test_the_module_itself_writes_nothing():
    answer = run_module("report", {"path": "x.html"})
    assert answer["failed"] and "on the controller" in answer["msg"]


def play(home, *arguments, path="out/fleet.html"):
    """Write a report of a and b in a play that runs on both."""
    collections = next(
        place for place in sys.path if (pathlib.Path(place) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    task = {"gpufleet.ollama.report": {"path": path}, "run_once": True, "register": "written"}
    told = {"ansible.builtin.debug": {"var": "written"}}
    content = [{"hosts": "all", "gather_facts": False, "tasks": [task, told]}]
    (home / "play.yml").write_text(json.dumps(content), encoding="utf-8")
    inventory = {"all": {"hosts": {"a": variables(), "b": unreachable("<script>")}}}
    (home / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    return subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(home), ANSIBLE_NOCOLOR="1"),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_three_files_have_all_hosts_of_the_play(tmp_path):
    done = play(tmp_path, "--check")
    assert done.returncode == 0 and "changed=0" in done.stdout, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fleet.html", "fleet.json", "fleet.md"]
    found = json.loads((tmp_path / "out" / "fleet.json").read_text(encoding="utf-8"))
    assert [(host["name"], host["state"]) for host in found["hosts"]] == [("b", "unreachable"), ("a", "as planned")]
    page = Page((tmp_path / "out" / "fleet.html").read_text(encoding="utf-8"))
    assert page.problems == [] and "script" not in {tag for tag, _attributes in page.nodes}
    assert "\\<script" in (tmp_path / "out" / "fleet.md").read_text(encoding="utf-8")
    (tmp_path / "out" / "fleet.json").write_text("{", encoding="utf-8")
    again = play(tmp_path)
    assert again.returncode == 0 and "Nothing is compared with it" in again.stdout + again.stderr


def test_a_path_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    done = play(tmp_path, path="play.yml/fleet.html")
    assert done.returncode != 0 and "play.yml is not a directory. Set ollama_multigpu_report" in done.stdout


@pytest.mark.parametrize("path", ["report", "report.htm", "dir/", ".html/x"])
def test_the_path_ends_in_html(path):
    with pytest.raises(ControllerFileError, match="ends in .html"):
        ReportFiles(path)


@pytest.mark.parametrize("suffix", [".html", ".md", ".json"])
def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path, suffix):
    (tmp_path / ("x" + suffix)).mkdir()
    with pytest.raises(ControllerFileError, match="is a directory"):
        ReportFiles(str(tmp_path / "x.html")).check()


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path):
    (tmp_path / "other").write_text("mine", encoding="utf-8")
    for suffix in (".html", ".md", ".json"):
        (tmp_path / ("x" + suffix)).symlink_to("other")
    ReportFiles(str(tmp_path / "x.html")).write(report_of(a=variables()))
    assert (tmp_path / "other").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "x.json").is_symlink()


@pytest.mark.parametrize("content", ["[]", "{}", '{"version": 99}', "\x00", '{"version": "1"}'])
def test_a_json_that_is_none_of_a_report_is_told(tmp_path, content):
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    found, problem = ReportFiles(str(tmp_path / "x.html")).last()
    assert found == {} and "x.json" in problem


def test_the_json_is_read_as_it_was_written(tmp_path):
    files = ReportFiles(str(tmp_path / "x.html"))
    assert files.last() == ({}, None)
    files.write(report_of(a=variables()))
    found, problem = files.last()
    assert problem is None and found["hosts"][0]["name"] == "a"
