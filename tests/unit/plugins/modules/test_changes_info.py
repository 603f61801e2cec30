# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""changes_info as a module, and as Ansible runs it: on the controller, without a connection to the host."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from tests.unit.plugins.module_utils.changes.builders import applied_host, host, model, plan, serving
from tests.unit.plugins.module_utils.changes.test_module_result import SETTINGS
from tests.unit.plugins.modules.run_module import run_module


def test_the_difference_is_returned():
    found = run_module("changes_info", {"settings": SETTINGS, "host": host(), "plan": plan(model())})
    assert not found["changed"] and found["obstacles"] == []
    assert found["changes"][0]["kind"] == "fetch" and found["summary"][0].startswith("Fetch release 0.32.15")


def test_nothing_on_a_host_that_is_as_planned():
    wanted = plan(model())
    options = {"settings": SETTINGS, "host": applied_host(wanted), "plan": wanted, "servers": serving(wanted)}
    assert run_module("changes_info", options)["changes"] == []


def test_ansible_opens_no_connection(tmp_path):
    """The host of the play cannot be reached."""
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "tasks": [
                        {
                            "gpufleet.ollama.changes_info": {
                                "settings": SETTINGS,
                                "names": ["ollama_multigpu_modles_dir"],
                                "host": host(),
                            },
                            "register": "found",
                        },
                        {"ansible.builtin.debug": {"msg": "{{ found.obstacles }}"}},
                    ],
                }
            ]
        )
    )
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "192.0.2.1,", str(tmp_path / "play.yml")],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(tmp_path), ANSIBLE_NOCOLOR="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "did you mean ollama_multigpu_models_dir?" in done.stdout
