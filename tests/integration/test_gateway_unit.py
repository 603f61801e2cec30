# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the unit of the gateway keeps of what runs, and how the role compares it with the files. Without systemd."""

from __future__ import annotations

import shlex
import subprocess

import pytest
import yaml

from tests.integration.gateway_front import ROLE

ETC, RUN = "/etc/ollama-gateway", "/run/ollama-gateway"
CONFIGURATION = "frontend clients\n    bind 127.0.0.1:11480 ssl crt %s/self-signed-0123.pem alpn http/1.1\n"


def settings(kind):
    """The commands of a setting of the unit, in their order."""
    text = (ROLE / "files" / "ollama-gateway.service").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(kind + "=")]


@pytest.fixture(name="host")
def _host(tmp_path):
    """The files of a host below another directory."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    return Host(tmp_path / "etc", tmp_path / "run")


class Host:
    """Runs commands of the unit and of the role, where HAProxy and its process are left out."""

    def __init__(self, etc, run):
        self.etc, self.run_directory = etc, run

    def here(self, word):
        return word.replace(ETC, str(self.etc)).replace(RUN, str(self.run_directory))

    def run(self, kind):
        for command in settings(kind):
            words = [self.here(word) for word in shlex.split(command)]
            if words[0] != "/usr/sbin/haproxy" and "kill -USR2" not in command:
                subprocess.run(words, check=True)

    def needs_reload(self):
        """What the role finds: whether what runs is older than the files."""
        tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text(encoding="utf-8"))
        (task,) = [task for task in tasks if task.get("register") == "__ollama_gateway_running"]
        words = [self.here(word) for word in task["ansible.builtin.command"]["argv"]]
        return {0: False, 1: True}[subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode]


@pytest.mark.parametrize("takes_over", ["ExecStartPre", "ExecReload"])
def test_a_run_reloads_what_an_earlier_one_has_only_written(host, takes_over):
    """If that was killed before its reload. A certificate keeps its name when the authority is made anew."""
    certificate, configuration = host.etc / "self-signed-0123.pem", host.etc / "haproxy.cfg"
    configuration.write_text(CONFIGURATION % host.etc)
    certificate.write_text("first")
    (host.etc / "self-signed-4567.pem").write_text("of names that are not in use any more")
    host.run("ExecStartPre")
    assert not host.needs_reload()
    (host.etc / "self-signed-4567.pem").unlink()
    assert not host.needs_reload()
    for path, content in ((certificate, "second"), (configuration, CONFIGURATION % host.etc + "    # more\n")):
        path.write_text(content)
        assert host.needs_reload(), path
        host.run(takes_over)
        assert not host.needs_reload(), path
        assert (host.run_directory / "running.cfg").read_text() == configuration.read_text()


def test_a_gateway_without_certificates_is_compared_as_well(host):
    (host.etc / "haproxy.cfg").write_text("frontend clients\n    bind 127.0.0.1:11480\n")
    assert host.needs_reload(), "nothing is known of what runs"
    host.run("ExecStartPre")
    assert not host.needs_reload()
    (host.etc / "haproxy.cfg").write_text("frontend clients\n    bind 127.0.0.1:11481\n")
    assert host.needs_reload()


def test_a_change_during_a_reload_is_not_missed():
    """The checksums are older than what HAProxy reads."""
    commands = settings("ExecReload")
    (sums,) = [number for number, command in enumerate(commands) if "sha256sum" in command]
    (signal,) = [number for number, command in enumerate(commands) if "kill -USR2" in command]
    (check,) = [number for number, command in enumerate(commands) if "haproxy -c" in command]
    assert check < sums < signal, "and a configuration that HAProxy does not take is not noted as one that runs"
