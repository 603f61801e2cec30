# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The counter of remote steps that the scenarios and the acceptance tests use."""

from __future__ import annotations

import json

from tests.integration.support import SCENARIOS, environment, run, tool

PLAYBOOK = """
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.command: "true"
    - ansible.builtin.command: "true"
      loop: [1, 2, 3]
      when: item != 2
      changed_when: false
    - ansible.builtin.command: "true"
      when: false
    - ansible.builtin.command: "true"
      loop: []
    - ansible.builtin.command: "true"
      delegate_to: localhost
      changed_when: false
    - ansible.builtin.set_fact:
        some: thing
    - ansible.builtin.command: "false"
      ignore_errors: true
"""


def test_each_item_counts_and_what_the_host_does_not_run_does_not(tmp_path):
    (tmp_path / "playbook.yml").write_text(PLAYBOOK, encoding="utf-8")
    counts = tmp_path / "counts.json"
    env = environment(
        ANSIBLE_CALLBACK_PLUGINS=str(SCENARIOS / "utils" / "callback_plugins"),
        ANSIBLE_CALLBACKS_ENABLED="count_results",
        ANSIBLE_HOME=str(tmp_path / "ansible"),
        COUNT_RESULTS_FILE=str(counts),
    )
    run([tool("ansible-playbook"), "-i", "one,", "playbook.yml"], cwd=tmp_path, env=env)
    host = json.loads(counts.read_text(encoding="utf-8"))["one"]
    assert (host["executions"], host["results"], host["changed"]) == (4, 6, 2), host
    assert [name.rpartition(" ")[2] for name in host["tasks"][1:3]] == ["1", "3"]
