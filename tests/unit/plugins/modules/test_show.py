# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""show as Ansible runs it: lines in the terminal with every callback, also in check mode, and none with no_log."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.plugin_utils.report.made_plans import planned


def test_the_module_itself_prints_nothing():
    answer = run_module("show", {"text": ["x"]})
    assert answer["failed"] and "on the controller" in answer["msg"]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The output of one run in check mode: a plan with a name that is an escape sequence, and a task with no_log."""
    home = tmp_path_factory.mktemp("show")
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    plan = planned({"name": "gemma3:27b", "context_length": 8192})
    plan["gpus"][0]["name"] = "RTX\x1b[2J"
    tasks = [
        {"name": "Show the plan", "gpufleet.ollama.show": {"plan": plan}, "register": "shown"},
        {"name": "Keep a secret", "gpufleet.ollama.show": {"text": ["geheim"]}, "no_log": True},
        {"name": "Show nothing", "gpufleet.ollama.show": {"plan": None}, "ignore_errors": True},
        {"ansible.builtin.assert": {"that": ["shown.lines | length > 5", "shown.overview.feasible"]}},
    ]
    (home / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "192.0.2.1,", "play.yml", "--check"],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(home), ANSIBLE_NOCOLOR="1"),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lines_are_printed_as_lines(played):
    assert "\nPlan for Ollama 0.32.15 on 192.0.2.1: feasible\n  GPU 0  RTX\\x1b[2J" in played
    assert '"msg"' not in played.split("Keep a secret")[0] and "changed=0" in played


def test_nothing_is_printed_with_no_log(played):
    assert "geheim" not in played


def test_a_task_without_anything_to_show_says_what_it_takes(played):
    assert "There is nothing to show: give one of diagnosis, difference, evidence" in played
