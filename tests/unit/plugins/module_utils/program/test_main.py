# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The commands of the host's program: exit codes, text and JSON, and what is printed for whom."""

from __future__ import annotations

import io
import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import main as program
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.version import VERSION

from tests.unit.plugins.module_utils.evidence.builders import A, B, observations
from tests.unit.plugins.module_utils.program.host import Host

GIB = 1024**3


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_version_needs_neither_root_nor_a_plan(host, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert host.run("version")[0] == 0
    code, text = host.run("version", "--json")
    assert code == 0 and json.loads(text)["version"] == VERSION


@pytest.mark.parametrize("command", ["status", "check"])
def test_without_root_there_is_a_sentence(host, monkeypatch, command):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, text = host.run(command)
    assert code == 4 and "sudo ollama-multigpu %s" % command in text and text.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "check"])
@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"instances": [{}]}', '{"feasible": false, "instances": []}']
)
def test_without_a_plan_that_can_be_used(host, command, content):
    if content is not None:
        host.places.plan_file.write_text(content, encoding="utf-8")
    else:
        host.places.plan_file.unlink()
    code, text = host.run(command)
    assert code == 3 and text.count("\n") == 1 and "plan" in text
    assert not os.path.exists(host.places.verdict)


@pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("status", "--no-such-option")])
def test_a_wrong_command_line_is_no_verdict(host, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        host.run(*arguments)
    assert ended.value.code == 64 and "ollama-multigpu" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "check"])
@pytest.mark.parametrize(
    "changes, code, verdict",
    [({}, 0, "pass"), ({"held": {A: 65 * GIB, B: 298 << 20}}, 1, "fail"), ({"stayed": None}, 2, "unproven")],
)
def test_the_exit_code_is_the_verdict(host, command, changes, code, verdict):
    host.shows(observations(**changes))
    found, text = host.run(command)
    assert found == code and "Verdict: %s" % verdict in text
    found, text = host.run(command, "--json")
    assert found == code and json.loads(text)["verdict"] == verdict and json.loads(text)["exit_code"] == code


def test_what_a_server_names_does_not_reach_the_terminal(host):
    seen = observations()
    seen.instances["gpu0-1"].loaded.append("evil\x1b[2J\n<0>model" + "x" * 10000)
    host.shows(seen)
    for command in ("status", "check"):
        text = host.run(command)[1]
        assert "\x1b" not in text and "\n<0>" not in text and max(map(len, text.splitlines())) <= 1000
        data = host.run(command, "--json")[1]
        assert "\x1b" not in data and len(data) < 100000
    assert len(open(host.places.verdict, encoding="utf-8").read()) < 100000


def test_the_journal_gets_the_level_of_each_line(host, tmp_path):
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    with open(tmp_path / "out", "w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        host.run("check", stream=stream, environment={"JOURNAL_STREAM": "%d:%d" % (status.st_dev, status.st_ino)})
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines and all(line.startswith("<3>") for line in lines)
    assert not host.run("check", environment={"JOURNAL_STREAM": "8:1"})[1].startswith("<")


@pytest.mark.parametrize("command", ["status", "check"])
def test_a_run_that_holds_the_lock_is_no_failure(host, command):
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    with run_lock(path=host.places.lock):
        code, text = host.run(command)
        data = json.loads(host.run(command, "--json")[1])
    assert code == 0 and "run" in text
    assert data["run_in_progress"] if command == "status" else data["checked"] is False
    assert not os.path.exists(host.places.verdict)


def test_a_reader_that_ends_early_is_no_traceback(host):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return os.open(os.devnull, os.O_WRONLY)

    assert host.run("status", stream=Closed())[0] == 0


def test_what_the_system_refuses_is_a_sentence(host, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program.status, "status", refuse)
    code, text = host.run("status")
    assert code == 4 and "No space left" in text
