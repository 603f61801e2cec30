# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run playbooks on rig hosts as a user does, and record the outcome.

The tests use a set of hosts of their own and the collection from the built archive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shlex

from tests import shown
from tests.integration.support import CHECKOUT, environment, run, tool
from tests.rig.hosts import ansible, changes, fleet, gpus, podman
from tests.rig.registry import background

#: Another name lets two sessions run on one machine.
SET = os.environ.get("GPUFLEET_SET") or "acc"
CALLBACKS = (
    CHECKOUT / "tests" / "integration" / "callback_plugins",
    CHECKOUT / "extensions" / "molecule" / "utils" / "callback_plugins",
)
STORE = "/var/lib/ollama-multigpu"
#: A store of an instance that no plan has: models are linked from it, and it is removed at the end of the run.
SEED_STORE = STORE + "/instances/seed"
VARIABLES = {
    "ollama_multigpu_registry": "{{ rig_registry }}",
    "ollama_multigpu_release_url": "{{ rig_release_url }}",
    "ollama_multigpu_release_checksum": "{{ rig_checksum }}",
}


@dataclasses.dataclass
class Outcome:
    """The outcome of a run.

    `output`, `plans` {host: plan or None}, `failures` {host: [message]}, `counts` {host: {executions, results, changed,
    tasks}}. `text` is the output in one line, for sentences that a terminal breaks.
    """

    output: str
    plans: dict
    failures: dict
    counts: dict

    @property
    def text(self) -> str:
        return " ".join(self.output.split())


class Site:
    """Rig hosts and a server of this set, with playbooks of the archive that run on them.

    `scratch` is the directory for inventories, records and Ansible's own files; `hosts` is the set of rig hosts.
    """

    def __init__(self, collections: pathlib.Path, scratch: pathlib.Path, hosts: str = SET):
        self.hosts = hosts
        self.path = [collections, ansible.collections(say=lambda text: None)]
        self.scratch = scratch

    def inventory(self, hosts: dict[str, dict], **variables) -> None:
        """Set the hosts of the next run: {name: variables}.

        Several names can have the same `ansible_host`. A value that starts with '!unsafe' is not a template.
        """
        own = {name: {"ansible_host": fleet.container_name(self.hosts, name), **more} for name, more in hosts.items()}
        text = json.dumps(
            {"rig": {"children": {"named": {"hosts": own, "vars": {**VARIABLES, **variables}}}}}, indent=1
        ).replace('"!unsafe ', '!unsafe "')
        (self.scratch / "hosts.yml").write_text(text, encoding="utf-8")

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """The command line of a run on the named hosts."""
        return [
            tool("ansible-playbook"),
            "-i",
            str(fleet.write_inventory(self.hosts)),
            "-i",
            str(self.scratch / "hosts.yml"),
            "-e",
            "ollama_multigpu_hosts=named",
            "gpufleet.ollama." + playbook,
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        """The variables of a run: callbacks that record it, and an empty cache of headers at first."""
        return environment(
            self.path,
            ANSIBLE_HOME=str(self.scratch / "ansible"),
            XDG_CACHE_HOME=str(self.scratch / "cache"),
            ANSIBLE_FORKS="12",
            ANSIBLE_CALLBACK_PLUGINS=":".join(map(str, CALLBACKS)),
            ANSIBLE_CALLBACKS_ENABLED="count_results,record_outcome",
            COUNT_RESULTS_FILE=str(self.scratch / "results.json"),
            RECORD_OUTCOME_FILE=str(self.scratch / "outcome.json"),
        )

    def play(self, playbook: str, *arguments: str, expect: int | None = 0, callback: str = "default") -> Outcome:
        """Run a playbook of the collection. Another exit status than expected (None = any) fails the test with the end
        of the output. `callback` prints the output.
        """
        environment = dict(self.environment(), ANSIBLE_STDOUT_CALLBACK=callback)
        command = self.command(playbook, *arguments)
        output = run(command, cwd=self.scratch, env=environment, timeout=1800, expect=expect)
        assert "Traceback" not in output
        hosts = json.loads((self.scratch / "outcome.json").read_text(encoding="utf-8"))
        return Outcome(
            output,
            {name: host["plan"] for name, host in hosts.items()},
            {name: host["failures"] for name, host in hosts.items() if host["failures"]},
            json.loads((self.scratch / "results.json").read_text(encoding="utf-8")),
        )

    def play_shown(
        self,
        line: str,
        *more: str,
        replaced: dict[str, str] | None = None,
        expect: int | None = 0,
        callback: str = "default",
    ) -> Outcome:
        """Run a command line that a page shows, on the hosts of this site.

        Args:
            line: `ansible-playbook -i inventory.yml gpufleet.ollama.NAME ...`, as it stands there.
            more: further arguments, such as `--limit`.
            replaced: what takes the place of values that are examples, such as the name of a host.
            expect: as in `play`, and so is `callback`.
        """
        line = shown.command(line)
        for example, value in (replaced or {}).items():
            assert example in line, line
            line = line.replace(example, value)
        program, option, inventory, playbook, *arguments = shlex.split(line)
        assert (program, option, inventory) == ("ansible-playbook", "-i", "inventory.yml"), line
        return self.play(playbook.removeprefix("gpufleet.ollama."), *arguments, *more, expect=expect, callback=callback)

    @contextlib.contextmanager
    def untouched(self, *hosts: str):
        """Fail unless the files of the hosts are the same after the block."""
        before = {host: changes.snapshot(fleet.container_name(self.hosts, host)) for host in hosts}
        yield
        for host, files in before.items():
            assert changes.compare(files, changes.snapshot(fleet.container_name(self.hosts, host))) == [], host


def gpu(host: str, *command: str) -> str:
    """A command of the rig's GPU state file on a host."""
    return gpus.run(fleet.container_name(SET, host), *command)


def on(host: str, *command: str, stdin: bytes | None = None) -> str:
    """Output of a command on a host, as root."""
    return podman.podman("exec", "-i", fleet.container_name(SET, host), *command, stdin=stdin).stdout.decode()


def run_shown(line: str, host: str, expect: int | None = 0) -> str:
    """Output of a command line that a page shows, run by a shell of a host; another exit status fails the test."""
    done = podman.podman("exec", fleet.container_name(SET, host), "sh", "-c", shown.command(line), check=False)
    output = done.stdout.decode()
    assert expect is None or done.returncode == expect, "%s: status %d\n%s" % (line, done.returncode, output)
    return output


def requests(clear: bool = False) -> list[dict]:
    """What the rig's server has served since the last clear."""
    return background.control(fleet.require_server(SET), "DELETE" if clear else "GET", "requests")
