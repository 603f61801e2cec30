# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the units of the gateway keep of what runs, and how the role compares it with the files. Without systemd."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml

from tests.integration.gateway_front import ROLE

ETC, RUN, UNITS = "/etc/ollama-gateway", "/run/ollama-gateway", "/etc/systemd/system"
CONFIGURATION = "frontend clients\n    bind 127.0.0.1:11480 ssl crt %s/self-signed-0123.pem alpn http/1.1\n"


def settings(kind, unit="ollama-gateway"):
    """The commands of a setting of a unit, in their order."""
    text = (ROLE / "files" / (unit + ".service")).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(kind + "=")]


@pytest.fixture(name="host")
def _host(tmp_path):
    """The files of a host below another directory."""
    host = Host(tmp_path)
    for place in (ETC, RUN, RUN + "-address", UNITS):
        host.path(place).mkdir(parents=True)
    for unit in ("ollama-gateway", "ollama-gateway-address"):
        host.path("%s/%s.service" % (UNITS, unit)).write_text("[Service]\n")
    return host


class Host:
    """Runs commands of the units and of the role, where HAProxy, keepalived and their processes are left out."""

    def __init__(self, root):
        self.root = root

    def path(self, name):
        """Where a file of the host is."""
        return self.root / name[1:]

    def _here(self, word):
        return re.sub("(%s|%s|%s)(?=[-/])" % (ETC, RUN, UNITS), lambda found: str(self.path(found.group())), word)

    def run(self, kind, unit="ollama-gateway"):
        for command in settings(kind, unit):
            words = [self._here(word) for word in shlex.split(command)]
            if words[0] != "/usr/sbin/haproxy" and "kill -USR2" not in command:
                subprocess.run(words, check=True)

    def is_old(self, tasks_file, register):
        """What the role finds: whether what runs is older than the files."""
        tasks = yaml.safe_load((ROLE / "tasks" / tasks_file).read_text(encoding="utf-8"))
        (task,) = [task for task in tasks if task.get("register") == register]
        words = [self._here(word) for word in task["ansible.builtin.command"]["argv"]]
        return {0: False, 1: True}[subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode]

    def needs_reload(self):
        return self.is_old("main.yml", "__ollama_gateway_running")


@pytest.mark.parametrize("takes_over", ["ExecStartPre", "ExecReload"])
def test_a_run_reloads_what_an_earlier_one_has_only_written(host, takes_over):
    """If that was killed before its reload. A certificate keeps its name when the authority is made anew."""
    etc = host.path(ETC)
    certificate, configuration = etc / "self-signed-0123.pem", etc / "haproxy.cfg"
    configuration.write_text(CONFIGURATION % etc)
    certificate.write_text("first")
    (etc / "self-signed-4567.pem").write_text("of names that are not in use any more")
    host.run("ExecStartPre")
    assert not host.needs_reload()
    (etc / "self-signed-4567.pem").unlink()
    assert not host.needs_reload()
    for path, content in ((certificate, "second"), (configuration, CONFIGURATION % etc + "    # more\n")):
        path.write_text(content)
        assert host.needs_reload(), path
        host.run(takes_over)
        assert not host.needs_reload(), path
        assert (host.path(RUN) / "running.cfg").read_text() == configuration.read_text()


@pytest.mark.parametrize(
    "unit, tasks_file, register",
    [
        ("ollama-gateway", "main.yml", "__ollama_gateway_started"),
        ("ollama-gateway-address", "address.yml", "__ollama_gateway_started_address"),
    ],
)
def test_a_run_restarts_for_a_unit_that_an_earlier_one_has_only_written(host, unit, tasks_file, register):
    for name in ("haproxy.cfg", "keepalived.conf"):
        (host.path(ETC) / name).write_text("")
    assert host.is_old(tasks_file, register), "it was never started"
    host.run("ExecStartPre", unit)
    assert not host.is_old(tasks_file, register)
    host.path("%s/%s.service" % (UNITS, unit)).write_text("[Service]\nUMask=0077\n")
    assert host.is_old(tasks_file, register)
    host.run("ExecStartPre", unit)
    assert not host.is_old(tasks_file, register)


def test_a_gateway_without_certificates_is_compared_as_well(host):
    configuration = host.path(ETC) / "haproxy.cfg"
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11480\n")
    assert host.needs_reload(), "nothing is known of what runs"
    host.run("ExecStartPre")
    assert not host.needs_reload()
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11481\n")
    assert host.needs_reload()


def test_a_change_during_a_reload_is_not_missed():
    """The checksums are older than what HAProxy reads."""
    commands = settings("ExecReload")
    (sums,) = [number for number, command in enumerate(commands) if "sha256sum" in command]
    (signal,) = [number for number, command in enumerate(commands) if "kill -USR2" in command]
    (check,) = [number for number, command in enumerate(commands) if "haproxy -c" in command]
    assert check < sums < signal, "and a configuration that HAProxy does not take is not noted as one that runs"
