# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the guide about pipelines shows does what it says: its commands, its execution environment, and the programs of
AWX and of ansible-navigator.

The host is this machine, with a "Python" that answers in the place of the modules, as in test_hostile_hosts.py.
"""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
import sys

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import plan_summary

from tests import shown
from tests.integration import galaxy_server
from tests.integration import test_hostile_hosts as hostile
from tests.integration.support import environment, galaxy, run, tool
from tests.setup.environment import virtual_environment

GH = pathlib.Path(__file__).with_name("gh.py")
#: What the examples for GitHub read of a pull request.
EVENT = {"github.token": "ghs_1", "github.event.number": "7"}
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


def steps(example):
    """(script, its variables) of the jobs of a pipeline of GitHub or GitLab, in order."""
    for job in example.get("jobs", example).values():
        yield from ((step["run"], step.get("env", {})) for step in job.get("steps", []) if "run" in step)
        yield from ((line, {}) for line in job.get("script", []))


def expanded(value):
    """A value of a workflow as GitHub gives it to a pull request."""
    return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: EVENT[found.group(1)], value)


@pytest.fixture(name="runner")
def _runner(host, archive):
    """The host, on a runner that has Galaxy and gh, and no collection: runner(script, variables)."""
    programs = host.directory / "state" / "bin"
    programs.mkdir()
    (programs / "gh").write_text('#!/bin/sh\nexec %s %s "$@"\n' % (sys.executable, GH))
    (programs / "gh").chmod(0o755)
    host.collections = host.directory / "state" / "collections"
    meta = galaxy()

    def shell(script, variables=None):
        pairs = {name: expanded(value) for name, value in (variables or {}).items()}
        pairs.update(PATH="%s:%s" % (programs, environment()["PATH"]), ANSIBLE_GALAXY_SERVER=address)
        return host.command("env", *map("%s=%s".__mod__, pairs.items()), "bash", "-ec", script)

    with galaxy_server.serving(archive, meta["namespace"], meta["name"], meta["version"]) as address:
        yield shell


def test_the_commands_of_the_guide(host, runner):
    """Those of the examples for GitHub and GitLab, and those of its text, each once."""
    told = {}
    for text in (shown.block("gitops", "yaml", 2), shown.block("gitops", "yaml", 3)):
        found = list(steps(yaml.safe_load(text)))
        assert found[0][0].startswith("ansible-galaxy ") and found[1][0].startswith("ansible-playbook "), text
        told.update((shlex.join(shlex.split(line)), (line, variables)) for line, variables in found)
    told.update((shlex.join(shlex.split(line)), (line, {})) for line in shown.commands("gitops"))
    assert sorted(line.split()[0] for line in told) == ["ansible-galaxy", *["ansible-playbook"] * 4, "gh"]
    review = host.directory / "review"
    for line, variables in told.values():
        runner(line, variables)
        assert host.status == (2 if "fail_on_change" in line else 0), host.output
        if "plan_dir" in line:
            assert "### `node1`" in (review / "summary.md").read_text()
        if line.startswith("gh "):
            assert json.loads(host.output) == {"number": 7, "body": (review / "summary.md").read_text()}
    assert sorted(path.name for path in review.iterdir()) == ["plans", "summary.json", "summary.md"]
    assert host.asked.count("instance_switch") == 2, "one run applies the inventory, one what was reviewed"


def test_galaxy_installs_the_archive(host, runner):
    """Into the runner that has none."""
    (line,) = {line for line, _variables in steps(yaml.safe_load(shown.block("gitops", "yaml", 3))) if "galaxy" in line}
    installed = host.collections / "ansible_collections" / "gpufleet" / "ollama" / "playbooks" / "site.yml"
    assert not installed.exists()
    runner(line)
    assert host.status == 0 and installed.is_file(), host.output


@pytest.mark.parametrize("number", [2, 3, 4])
def test_before_the_release_the_url_of_the_archive_stands_for_the_name(archive, tmp_path, number):
    """Where the examples install the collection, for GitHub, GitLab and an execution environment."""
    meta, example = galaxy(), yaml.safe_load(shown.block("gitops", "yaml", number))
    with galaxy_server.serving(archive, meta["namespace"], meta["name"], meta["version"]) as address:
        url = address.replace("/api/", "/archive.tar.gz")
        if number == 4:
            named = json.dumps(example["dependencies"]["galaxy"]).replace("gpufleet.ollama", url)
            (tmp_path / "requirements.yml").write_text(named)
            script = "ansible-galaxy collection install -r requirements.yml"
        else:
            (script,) = {line for line, _variables in steps(example) if "galaxy" in line}
            script = script.replace("gpufleet.ollama", url)
        told = environment(collections=tmp_path, ANSIBLE_GALAXY_SERVER="http://127.0.0.1:9/api/")
        run(["bash", "-ec", script], tmp_path, told)
    assert (tmp_path / "ansible_collections" / "gpufleet" / "ollama" / "playbooks" / "site.yml").is_file()


@pytest.mark.parametrize(
    "change, words",
    [
        (("", ""), '"number": 7'),
        (("--create-if-none", "--create-if-missing"), "unrecognized arguments: --create-if-missing"),
        (("--edit-last ", ""), "can only be used with --edit-last"),
        (('"$NUMBER"', ""), "gives the number"),
        (("summary.md", "summary.html"), "summary.html"),
        (("summary.md", "long.md"), "a comment has 1 to 65536 characters, not 65537"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_the_comment_is_one_that_github_takes(tmp_path, change, words):
    """Of the guide as it is; another command is refused, so that the program in the place of gh proves something."""
    (step,) = [one for one in steps(yaml.safe_load(shown.block("gitops", "yaml", 2))) if one[0].startswith("gh ")]
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "summary.md").write_text("x" * plan_summary.LONGEST)
    (tmp_path / "review" / "long.md").write_text("x" * 65537)
    script = step[0].replace(*change).replace("gh ", "%s %s " % (sys.executable, GH), 1)
    variables = {name: expanded(value) for name, value in step[1].items()}
    told = run(["bash", "-ec", script], tmp_path, environment(**variables), expect=None)
    assert words in told


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
