# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""endpoints_file as Ansible runs it: on the controller, for several hosts at once; and filters that read its file."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import plan_endpoints

from tests.unit.plugins.module_utils.changes.builders import model, plan
from tests.unit.plugins.modules.run_module import run_module

HOSTS = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def play(place, tasks, *options):
    """Run tasks for hosts that cannot be reached."""
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    (place / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", ",".join(HOSTS), "play.yml"]
    done = subprocess.run(
        [*command, *options],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(place), ANSIBLE_NOCOLOR="1"),
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_module_itself_writes_nothing(tmp_path):
    answer = run_module("endpoints_file", {"path": str(tmp_path / "x"), "host": "node1", "state": "absent"})
    assert answer["failed"] and "on the controller" in answer["msg"] and not list(tmp_path.iterdir())


def test_ansible_enters_hosts_without_a_connection(tmp_path):
    wanted = plan(model(context_length=8192, parallel=2))
    wanted["instances"][0]["address"] = "0.0.0.0"
    enter = {
        "gpufleet.ollama.endpoints_file": {
            "path": "out/endpoints.json",
            "host": "{{ inventory_hostname }}",
            "known_hosts": "{{ groups['all'] }}",
            "endpoints": "{{ plan | gpufleet.ollama.plan_endpoints(inventory_hostname) }}",
        },
        "vars": {"plan": wanted},
        "become": True,
    }
    assert play(tmp_path, [enter], "--check").count("changed=1") == 3 and not (tmp_path / "out").exists()
    assert play(tmp_path, [enter]).count("changed=1") == 3
    assert play(tmp_path, [enter]).count("changed=0") == 3
    written = json.loads((tmp_path / "out" / "endpoints.json").read_text())
    assert written["hosts"]["192.0.2.3"] == json.loads(json.dumps(plan_endpoints(wanted, "192.0.2.3")))
    urls = [one["url"] for one in written["models"]["llama3.1:8b"]["endpoints"]]
    assert urls == ["http://%s:11434" % host for host in HOSTS]

    told = "lookup('ansible.builtin.file', playbook_dir ~ '/out/endpoints.json') | from_json"
    put = {
        "ansible.builtin.assert": {
            "that": [
                "(%s) == (%s).hosts | gpufleet.ollama.endpoints_document" % (told, told),
                "(%s | gpufleet.ollama.litellm_config).model_list | length == 3" % told,
                "'server 192.0.2.2:11434' in (%s | gpufleet.ollama.nginx_config('llama3.1:8b'))" % told,
            ]
        }
    }
    leave = {
        "gpufleet.ollama.endpoints_file": {
            "path": "out/endpoints.json",
            "host": "{{ inventory_hostname }}",
            "state": "absent",
        },
        "when": "inventory_hostname == '192.0.2.1'",
    }
    play(tmp_path, [put, leave])
    assert list(json.loads((tmp_path / "out" / "endpoints.json").read_text())["hosts"]) == HOSTS[1:]
