# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the guide about pipelines shows does what it says: its commands, its execution environment, and the programs of
AWX and of ansible-navigator.

The host is this machine, with a "Python" that answers in the place of the modules, as in test_hostile_hosts.py.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys

import pytest
import yaml

from tests import shown
from tests.integration import test_hostile_hosts as hostile
from tests.integration.support import environment, run, tool
from tests.setup.environment import virtual_environment

#: Documented at docs.ansible.com/ansible/latest/collections/awx/awx/job_template_module.html.
JOB_TEMPLATE = "awx.awx.job_template"
PROGRAMS = [
    "ansible-core==2.21.5",
    "ansible-navigator==26.10.0",
    "ansible-runner==2.4.3",
    "nvidia-ml-py==13.615.71",
    "requests==2.34.2",
]

registry, evil = hostile.registry, hostile.evil


@pytest.fixture(name="host")
def _host(tmp_path, collections, registry, evil):
    """A host that is planned once, with the inventory of the guide."""
    found = hostile.Run(tmp_path, collections, registry, evil)
    assert found([[hostile.PLAN]]).status == 0, found.output
    shutil.copy(tmp_path / "inventory.json", tmp_path / "inventory.yml")
    return found


def scripts(content):
    """The runs of ansible-playbook in an example of a pipeline, without the name of the program."""
    if isinstance(content, str):
        return [shlex.split(content)[1:]] if content.startswith("ansible-playbook ") else []
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else []
    return [words for value in values for words in scripts(value)]


def test_the_commands_of_the_guide(host):
    """Those of its text and of the examples for GitHub and GitLab, each once."""
    commands = [shlex.split(line)[1:] for line in shown.commands("gitops")]
    for text in (shown.block("gitops", "yaml", 2), shown.block("gitops", "yaml", 3)):
        found = scripts(yaml.safe_load(text))
        assert len(found) == 2, text
        commands += found
    told = list(dict.fromkeys(map(shlex.join, commands)))
    assert len(told) == 4, told
    review = host.directory / "review"
    for words in map(shlex.split, told):
        host.command(tool("ansible-playbook"), *words)
        drift = any("fail_on_change" in word for word in words)
        assert host.status == (2 if drift else 0), host.output
        if any("plan_dir" in word for word in words):
            assert "### `node1`" in (review / "summary.md").read_text()
    assert sorted(path.name for path in review.iterdir()) == ["plans", "summary.json", "summary.md"]
    assert host.asked.count("instance_switch") == 2, "one run applies the inventory, one what was reviewed"


def test_the_execution_environment_is_one(collections, tmp_path):
    """ansible-builder takes the file of the guide, and finds in the collection which libraries it needs."""
    (tmp_path / "execution-environment.yml").write_text(shown.block("gitops", "yaml", 4))
    run([tool("ansible-builder"), "create", "-c", tmp_path / "context"], cwd=tmp_path, env=environment())
    built = (tmp_path / "context" / "Containerfile").read_text()
    assert "ansible-galaxy collection install" in built and "registry.example.org/centos:stream9" in built
    named = yaml.safe_load((tmp_path / "context" / "_build" / "requirements.yml").read_text())
    assert named == {"collections": ["gpufleet.ollama"]}
    found = run([tool("ansible-builder"), "introspect", collections], cwd=tmp_path, env=environment())
    assert "requests" in found and "nvidia-ml-py" in found


@pytest.mark.full
def test_the_programs_of_awx_and_ansible_navigator_run_the_plan(host):
    home = virtual_environment("pipelines", sys.executable, PROGRAMS, constraints=None) / "bin"
    (task,) = yaml.safe_load(shown.block("gitops", "yaml", 6))
    job = task[JOB_TEMPLATE]
    assert (job["job_type"], list(job["extra_vars"])) == ("check", ["ollama_multigpu_fail_on_change"])
    project = host.directory / "state" / "project"
    project.mkdir()
    (project / job["playbook"]).write_text(shown.block("gitops", "yaml", 5))
    inventory = str(host.directory / "inventory.yml")
    path = "PATH=%s:%s" % (home, environment()["PATH"])
    options = ["-e", json.dumps(job["extra_vars"])]
    runner = [home / "ansible-runner", "run", project.parent, "-p", job["playbook"], "--inventory", inventory]
    navigator = [home / "ansible-navigator", "run", "gpufleet.ollama.plan", "-i", inventory, "--mode", "stdout"]
    navigator += ["--execution-environment", "false", "--playbook-artifact-enable", "false"]
    for command, more in ((runner, ["--cmdline", shlex.join(["--check", *options])]), (navigator, options)):
        asked = len(host.asked)
        host.command("env", path, *map(str, command), *more, cwd=host.directory / "state")
        assert host.status == 2, host.output
        assert "node1 has no plan in force, and a run would make" in " ".join(host.output.split())
        assert len(host.asked) > asked
