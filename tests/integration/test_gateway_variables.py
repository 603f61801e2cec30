# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Variables of another form, as Ansible gives them to the role: each is refused before anything is done on a host."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

SECRET = "a-key-of-the-fleet-0123456789"
SHARED = {"address": "192.0.2.10/24", "interface": "eth0"}
#: Variables of a host, and what the run says of them. The specification of the role takes these texts.
CASES = {
    "upstream": (
        {"upstream": "port=11480 key=" + SECRET},
        "ollama_gateway_upstream is no dictionary; give a dictionary",
    ),
    "upstream-addresses": (
        {"upstream": {"port": 11480, "key": SECRET, "addresses": "gpu1=192.0.2.1"}},
        "addresses in ollama_gateway_upstream is no dictionary; give a dictionary",
    ),
    "gpu-hosts": ({"gpu_hosts": "gpu1,gpu2"}, "ollama_gateway_gpu_hosts is 'gpu1,gpu2'; give a list"),
    "shared": (
        {"virtual_address": "interface=eth0"},
        "ollama_gateway_virtual_address is 'interface=eth0'; give a dict",
    ),
    "shared-hosts": (
        {"virtual_address": {**SHARED, "hosts": "front1,front2"}},
        "ollama_gateway_virtual_address: hosts is 'front1,front2'; give a list",
    ),
    "shared-addresses": (
        {"virtual_address": {**SHARED, "hosts": ["shared-addresses", "shared"], "addresses": "shared=192.0.2.1"}},
        "ollama_gateway_virtual_address: addresses is 'shared=192.0.2.1'; give a dictionary",
    ),
    # A list is read as it is: the facts of the host in it are looked for, and there are none.
    "good": ({"gpu_hosts": ["good"]}, "The facts of good are no JSON object"),
}


def test_texts_in_place_of_lists_and_dictionaries_are_said(tmp_path):
    """Ansible takes a text apart into its letters, and looks for hosts of these names."""
    hosts = {
        host: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ollama_gateway_listen_address": "0.0.0.0" if "virtual_address" in given else "127.0.0.1",
            **{"ollama_gateway_" + name: value for name, value in given.items()},
        }
        for host, (given, _words) in CASES.items()
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    tasks = [{"ansible.builtin.include_role": {"name": "gpufleet.ollama.ollama_gateway"}}]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.json", "play.yml", "--check"]
    settings = {"ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}
    given = {**os.environ, **settings, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_FORKS": "2"}
    done = subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    said = {host: re.findall(r"(?m)^fatal: \[%s\]: FAILED! => (.*)$" % host, done.stdout) for host in CASES}
    for host, (_given, words) in CASES.items():
        assert len(said[host]) == 1 and words in said[host][0], (host, done.stdout, done.stderr)
    assert SECRET not in done.stdout + done.stderr and done.stdout.count("changed=0") == len(CASES)
