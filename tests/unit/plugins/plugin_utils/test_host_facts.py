# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts that a host must not have, among those that real hosts have."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, shell_loader
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.host_facts import (
    foreign_name,
    host_name,
    refuse_foreign_names,
)


@pytest.fixture
def injected(monkeypatch):
    """A function that says whether facts become variables."""
    real = C.config.get_config_value

    def choose(value):
        monkeypatch.setattr(
            C.config,
            "get_config_value",
            lambda name, *rest, **more: value if name == "INJECT_FACTS_AS_VARS" else real(name, *rest, **more),
        )

    choose(True)
    return choose


@pytest.fixture(scope="module")
def real_facts():
    """The facts that Ansible's module setup reads on this machine, as tasks have them."""
    command = [str(pathlib.Path(sys.executable).parent / "ansible"), "localhost", "-c", "local", "-m", "setup"]
    done = subprocess.run(
        [*command, "-e", "ansible_python_interpreter=%s" % sys.executable], stdout=subprocess.PIPE, check=True
    )
    facts = json.loads(done.stdout[done.stdout.index(b"{") :])["ansible_facts"]
    return {name[8:] if name.startswith("ansible_") and name != "ansible_local" else name for name in facts}


@pytest.mark.parametrize(
    "fact",
    [
        "ollama_multigpu_evidence_dir",
        "ollama_multigpu_nosuch",
        "__ollama_multigpu_settings",
        "__ollama_multigpu_host_info",
        "inventory_hostname",
        "inventory_hostname_short",
        "groups",
        "group_names",
        "hostvars",
        "play_hosts",
        "omit",
        "playbook_dir",
        "role_path",
        "lookup",
        "query",
    ],
)
@pytest.mark.parametrize("inject", [True, False])
def test_names_of_the_role_and_of_ansible(fact, inject, injected):
    injected(inject)
    facts = {"distribution": "Debian", fact: "x"}
    assert foreign_name({"ansible_facts": facts, **(facts if inject else {})}) == fact


@pytest.mark.parametrize(
    "fact",
    ["connection", "host", "user", "become", "become_exe", "python_interpreter", "playbook_python", "check_mode"],
)
def test_names_that_ansible_has_with_its_prefix(fact, injected):
    names = [] if fact != "check_mode" else ["ansible_check_mode"]
    assert foreign_name({"ansible_facts": {fact: "x"}}, names) == "ansible_" + fact
    # A module of the user's own returned it without the prefix: a variable that means nothing to Ansible.
    assert foreign_name({"ansible_facts": {fact: "x"}, fact: "x"}, names) is None
    injected(False)
    assert foreign_name({"ansible_facts": {fact: "x"}}, names) is None


def test_options_of_the_plugins_are_variables(injected):
    """ansible-core takes ansible_ssh_* away from facts, but not the variable that names the program sftp."""
    ssh = connection_loader.get("ssh", PlayContext(), None)
    variables = {"ansible_facts": {"sftp_executable": "/tmp/x"}}
    assert foreign_name(variables) is None
    with pytest.raises(AnsibleActionFail, match="ansible_sftp_executable"):
        refuse_foreign_names(variables, (ssh, shell_loader.get("sh"), None))


def test_real_facts_are_not_refused(real_facts, injected):
    ssh = connection_loader.get("ssh", PlayContext(), None)
    facts = dict.fromkeys(real_facts, "x")
    facts.update(
        gpu_inventory={}, discovered_interpreter_python="x", ssh_host_key_rsa_public="x", _ansible_facts_gathered=True
    )
    assert "distribution" in facts
    refuse_foreign_names({"ansible_facts": facts}, (ssh, shell_loader.get("sh")))


def test_the_sentence_names_host_and_fact():
    variables = {"ansible_facts": {"ollama_multigpu_registry": "evil"}, "inventory_hostname": "node1"}
    with pytest.raises(AnsibleActionFail, match="^node1 has the fact ollama_multigpu_registry"):
        refuse_foreign_names(variables)
    variables = {"ansible_facts": {"inventory_hostname": "../x"}, "inventory_hostname": "../x"}
    with pytest.raises(AnsibleActionFail, match="^The host has the fact inventory_hostname"):
        refuse_foreign_names(variables)


def test_tasks_without_facts():
    for variables in (None, {}, {"ansible_facts": {}}, {"ansible_facts": None}):
        refuse_foreign_names(variables)
    assert host_name(None) == "the host" and host_name({"inventory_hostname": "node1"}) == "node1"
