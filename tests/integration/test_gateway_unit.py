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
NOTHING, RELOAD, RESTART = "nothing", "reload", "restart"
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

    def run(self, kind, unit="ollama-gateway", until=None):
        """Run the commands; those before the one that has a word, which fails."""
        for command in settings(kind, unit):
            words = [self._here(word) for word in shlex.split(command)]
            if until and until in command:
                return
            if words[0] != "/usr/sbin/haproxy" and "reload_gateway.py" not in command:
                subprocess.run(words, check=True)

    def compared(self, tasks_file, register):
        """(status, lines) of the command with which the role compares what runs with the files."""
        tasks = yaml.safe_load((ROLE / "tasks" / tasks_file).read_text(encoding="utf-8"))
        (task,) = [task for task in tasks if task.get("register") == register]
        words = [self._here(word) for word in task["ansible.builtin.command"]["argv"]]
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=task.get("environment"))
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, done.stdout.splitlines()

    def needs(self):
        """What the role does with the gateway (main.yml)."""
        status, lines = self.compared("main.yml", "__ollama_gateway_running")
        if "%s: OK" % self.path(UNITS + "/ollama-gateway.service") not in lines:
            return RESTART
        return RELOAD if status else NOTHING


@pytest.mark.parametrize("takes_over", ["ExecStartPre", "ExecReload"])
def test_a_run_reloads_what_an_earlier_one_has_only_written(host, takes_over):
    """If that was killed before its reload. A certificate keeps its name when the authority is made anew."""
    etc = host.path(ETC)
    certificate, configuration = etc / "self-signed-0123.pem", etc / "haproxy.cfg"
    configuration.write_text(CONFIGURATION % etc)
    certificate.write_text("first")
    (etc / "self-signed-4567.pem").write_text("of names that are not in use any more")
    host.run("ExecStartPre")
    assert host.needs() == NOTHING
    (etc / "self-signed-4567.pem").unlink()
    assert host.needs() == NOTHING
    for path, content in ((certificate, "second"), (configuration, CONFIGURATION % etc + "    # more\n")):
        path.write_text(content)
        assert host.needs() == RELOAD, path
        host.run(takes_over)
        assert host.needs() == NOTHING, path
        assert (host.path(RUN) / "running.cfg").read_text() == configuration.read_text()


def test_a_run_restarts_for_a_unit_that_an_earlier_one_has_only_written(host):
    configuration, unit = host.path(ETC) / "haproxy.cfg", host.path(UNITS) / "ollama-gateway.service"
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11480\n")
    assert host.needs() == RESTART, "it was never started"
    host.run("ExecStartPre")
    assert host.needs() == NOTHING
    unit.write_text("[Service]\nUMask=0077\n")
    assert host.needs() == RESTART
    host.run("ExecReload")
    assert host.needs() == RESTART, "a reload does not start the unit again"
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11481\n")
    assert host.needs() == RESTART, "which reads the configuration as well"
    host.run("ExecStartPre")
    assert host.needs() == NOTHING


def test_a_run_restarts_keepalived_for_a_unit_that_an_earlier_one_has_only_written(host):
    (host.path(ETC) / "keepalived.conf").write_text("")

    def is_old():
        return host.compared("address.yml", "__ollama_gateway_started_address")[0] == 1

    assert is_old(), "it was never started"
    host.run("ExecStartPre", "ollama-gateway-address")
    assert not is_old()
    (host.path(UNITS) / "ollama-gateway-address.service").write_text("[Service]\nUMask=0077\n")
    assert is_old()
    host.run("ExecStartPre", "ollama-gateway-address")
    assert not is_old()


def test_a_gateway_without_certificates_is_compared_as_well(host):
    configuration = host.path(ETC) / "haproxy.cfg"
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11480\n")
    host.run("ExecStartPre")
    assert host.needs() == NOTHING
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11481\n")
    assert host.needs() == RELOAD


def test_a_change_during_a_reload_is_not_missed():
    """The checksums are older than what HAProxy reads."""
    commands = settings("ExecReload")
    (sums,) = [number for number, command in enumerate(commands) if "sha256sum" in command]
    (reload,) = [number for number, command in enumerate(commands) if "reload_gateway.py" in command]
    (check,) = [number for number, command in enumerate(commands) if "haproxy -c" in command]
    assert check < sums < reload


@pytest.mark.parametrize("fails", ["haproxy -c", "reload_gateway.py"])
def test_a_configuration_that_haproxy_does_not_take_is_not_noted_as_one_that_runs(host, fails):
    configuration = host.path(ETC) / "haproxy.cfg"
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11480\n")
    host.run("ExecStartPre")
    configuration.write_text("frontend clients\n    bind 127.0.0.1:11481\n")
    host.run("ExecReload", until=fails)
    assert host.needs() == RELOAD and "11480" in (host.path(RUN) / "running.cfg").read_text()
