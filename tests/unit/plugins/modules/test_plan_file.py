# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""plan_file as Ansible runs it: on the controller, without a connection to the host."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.plugin_utils.report.made_plans import planned
from tests.unit.plugins.plugin_utils.report.test_changes_lines import CHANGES, GEMMA


def test_the_module_itself_writes_nothing(tmp_path):
    answer = run_module("plan_file", {"directory": str(tmp_path), "host": "node1"})
    assert answer["failed"] and "on the controller" in answer["msg"] and not list(tmp_path.iterdir())


def test_ansible_writes_without_a_connection(tmp_path):
    """The hosts of the play cannot be reached. Each writes its part; the second has no plan."""
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    task = {
        "gpufleet.ollama.plan_file": {
            "directory": str(tmp_path / "review"),
            "host": "{{ inventory_hostname }}",
            "hosts": "{{ ansible_play_hosts_all }}",
            "plan": "{{ planned if inventory_hostname == '192.0.2.1' else {} }}",
            "difference": "{{ difference if inventory_hostname == '192.0.2.1' else {} }}",
        },
        "register": "written",
        "become": True,
    }
    check = {"ansible.builtin.assert": {"that": "written.differs is search('192.0.2.1 has no plan in force')"}}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {
            "planned": planned(GEMMA),
            "difference": {"changes": CHANGES, "summary": [], "obstacles": [], "work": {"switches": []}},
        },
        "tasks": [task, dict(check, when="inventory_hostname == '192.0.2.1'")],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "192.0.2.1,192.0.2.2,", "play.yml"]
    for options in (["--check"], []):
        assert not (tmp_path / "review").exists()
        done = subprocess.run(
            [*command, *options],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(tmp_path), ANSIBLE_NOCOLOR="1"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0 and "changed=0" in done.stdout, done.stdout + done.stderr
    summary = json.loads((tmp_path / "review" / "summary.json").read_text())
    assert [(one["host"], one["state"]) for one in summary["hosts"]] == [
        ("192.0.2.1", "differs"),
        ("192.0.2.2", "unplanned"),
    ]
    assert json.loads((tmp_path / "review" / "plans" / "192.0.2.1.json").read_text())["state"] == "differs"
