# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""evidence_file as Ansible runs it: on the controller, without a connection to the host."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from tests.unit.plugins.modules.run_module import run_module


def test_the_module_itself_writes_nothing(tmp_path):
    answer = run_module("evidence_file", {"directory": str(tmp_path), "host": "node1", "evidence": {}})
    assert answer["failed"] and "on the controller" in answer["msg"] and not list(tmp_path.iterdir())


def test_ansible_writes_without_a_connection(tmp_path):
    """The host of the play cannot be reached."""
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    task = {
        "gpufleet.ollama.evidence_file": {
            "directory": str(tmp_path / "evidence"),
            "host": "{{ inventory_hostname }}",
            "evidence": {"verdict": "pass", "instances": [{"name": "gpu0"}], "diagnosis": []},
        },
        "become": True,
    }
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "192.0.2.1,", "play.yml"]
    for options in (["--check"], []):
        assert not (tmp_path / "evidence").exists()
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
    written = json.loads((tmp_path / "evidence" / "192.0.2.1.json").read_text())
    assert written == {"host": "192.0.2.1", "verdict": "pass", "instances": [{"name": "gpu0"}], "diagnosis": []}
