# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A header that the controller reads for a host is read in the process of the task: no other Python is started."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

COLLECTIONS = next(
    path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
)


def message(tmp_path, **task):
    """What a task fails with that asks for a name that is none, where the host's Python does not exist."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": "/nonexistent/python"},
        "tasks": [
            {"gpufleet.ollama.model_info": {"name": "../x"}, "register": "found", "ignore_errors": True, **task},
            {"ansible.builtin.copy": {"content": "{{ found.msg }}", "dest": str(tmp_path / "told")}}
            | {"delegate_to": "localhost", "vars": {"ansible_python_interpreter": sys.executable}},
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "host,", str(tmp_path / "play.yml")],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=COLLECTIONS, ANSIBLE_HOME=str(tmp_path), ANSIBLE_NOCOLOR="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (tmp_path / "told").read_text()


def test_a_header_for_a_host_is_read_in_the_process_of_the_task(tmp_path):
    assert message(tmp_path, delegate_to="localhost").startswith("model name '../x' ")


@pytest.mark.parametrize("task", [{}, {"delegate_to": "localhost", "async": 10, "poll": 1}])
def test_on_a_host_or_in_the_background_the_module_runs(tmp_path, task):
    assert not message(tmp_path, **task).startswith("model name")
