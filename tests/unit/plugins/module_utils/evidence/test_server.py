# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a server runs with, and why it would have to be restarted."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import server as servers
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import unit as units

from tests.unit.plugins.scripted_server import serving

WANTED = {"OLLAMA_HOST": "127.0.0.1:11434", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
INSTANCE = {"name": "gpu0-1", "unit": "ollama@gpu0-1.service", "url": "http://127.0.0.1:11434", "environment": WANTED}


def state(
    process=None, unit=None, active="active", reload=False, executable="/opt/new/bin/ollama", arguments=(), main_pid=1
):
    return {
        "unit": None
        if active is None
        else {"active_state": active, "needs_daemon_reload": reload, "main_pid": main_pid},
        "environment": {"process": dict(WANTED, **(process or {})), "unit": dict(WANTED, **(unit or {}))},
        "executable": executable,
        "arguments": list(arguments),
    }


def reasons(**changes):
    return servers.restart_reasons(INSTANCE, state(**changes), "/opt/new/bin/ollama")


def test_a_process_that_runs_as_planned_is_left_alone():
    assert reasons() == []
    assert reasons(process={"PATH": "/bin", "HOME": "/x", "LANG": "C"}) == []


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"active": None}, "not known"),
        ({"active": "inactive"}, "inactive"),
        ({"active": "failed"}, "failed"),
        ({"reload": True}, "unit has changed"),
        ({"process": {"CUDA_VISIBLE_DEVICES": "GPU-b"}}, "CUDA_VISIBLE_DEVICES"),
        ({"executable": "/opt/old/bin/ollama"}, "another file"),
        ({"executable": "/opt/new/bin/ollama (deleted)"}, "another file"),
        ({"process": {"OLLAMA_DEBUG": "1"}}, "OLLAMA_DEBUG"),
        ({"process": {"OLLAMA_DEBUG": "1"}, "unit": {"OLLAMA_DEBUG": "2"}}, "OLLAMA_DEBUG"),
    ],
)
def test_what_needs_a_restart(changes, word):
    found = reasons(**changes)
    assert len(found) == 1 and word in found[0]


def test_a_variable_that_is_missing_in_the_process():
    running = state()
    del running["environment"]["process"]["OLLAMA_HOST"]
    assert servers.restart_reasons(INSTANCE, running, "/opt/new/bin/ollama") == [
        "OLLAMA_HOST is missing in the process"
    ]


def test_values_are_not_told():
    """They may hold passwords of a proxy."""
    found = reasons(process={"OLLAMA_HOST": "secret"})
    assert found and "secret" not in found[0]


def test_what_a_drop_in_adds_is_no_reason_for_a_restart_as_it_would_come_back():
    assert reasons(process={"OLLAMA_DEBUG": "1"}, unit={"OLLAMA_DEBUG": "1"}) == []


def test_an_unreadable_process_is_no_reason():
    running = state()
    running["environment"]["process"] = None
    running["executable"] = None
    assert servers.restart_reasons(INSTANCE, running, "/opt/new/bin/ollama") == []


@pytest.fixture
def script(tmp_path):
    """A release directory with a script behind a link, and a process that runs it: (path of the link, its target, process)."""
    release = tmp_path / "releases" / "1" / "bin"
    release.mkdir(parents=True)
    program = release / "ollama"
    program.write_text("#!%s\nimport time\nprint(flush=True)\ntime.sleep(60)\n" % sys.executable)
    program.chmod(0o755)
    os.utime(program, (1, 1))
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "1")
    os.utime(tmp_path / "current", (time.time() - 100, time.time() - 100), follow_symlinks=False)
    path = str(tmp_path / "current" / "bin" / "ollama")
    process = subprocess.Popen([sys.executable, path, "serve"], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield path, tmp_path, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_script_is_known_by_its_argument_and_the_age_of_the_link(script):
    path, directory, process = script
    running = state(
        executable=os.path.realpath(sys.executable), arguments=[sys.executable, path, "serve"], main_pid=process.pid
    )
    assert servers.restart_reasons(INSTANCE, running, path) == []
    assert servers.restart_reasons(INSTANCE, running, "/elsewhere/ollama")

    (directory / "releases" / "2").symlink_to(directory / "releases" / "1")
    later = time.time() + 100
    (directory / "new").symlink_to(directory / "releases" / "1")
    os.utime(directory / "new", (later, later), follow_symlinks=False)
    os.replace(directory / "new", directory / "current")
    found = servers.restart_reasons(INSTANCE, running, path)
    assert len(found) == 1 and "earlier one" in found[0]


def test_a_server_is_read(monkeypatch):
    routes = {
        ("GET", "/api/version"): (200, {"version": "0.32.15"}),
        ("GET", "/api/tags"): (200, {"models": [{"name": "tiny:latest"}]}),
        ("GET", "/api/ps"): (200, {"models": []}),
    }
    properties = {
        "Id": "ollama.service",
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "MainPID": str(os.getpid()),
        "FragmentPath": "/etc/systemd/system/ollama.service",
        "DropInPaths": "/a.conf /b.conf",
        "NeedDaemonReload": "yes",
        "Environment": "OLLAMA_HOST=x PATH=/bin",
    }
    monkeypatch.setattr(units, "show", lambda names: {"ollama.service": properties})
    with serving(routes) as double:
        found = servers.read_server(double.url, "ollama.service")
    assert (found["reachable"], found["version"], found["models"]) == (True, "0.32.15", [{"name": "tiny:latest"}])
    assert found["unit"] == {
        "name": "ollama.service",
        "active_state": "active",
        "sub_state": "running",
        "main_pid": os.getpid(),
        "needs_daemon_reload": True,
        "path": "/etc/systemd/system/ollama.service",
        "drop_ins": ["/a.conf", "/b.conf"],
    }
    assert found["environment"]["unit"] == {"OLLAMA_HOST": "x"}
    assert isinstance(found["environment"]["process"], dict)


def test_a_server_that_does_not_answer_is_no_error():
    found = servers.read_server("http://127.0.0.1:9", None, timeout=1)
    assert found["reachable"] is False and "127.0.0.1:9" in found["error"]
    assert found["unit"] is None


def test_a_unit_that_systemd_does_not_know():
    properties = {"Id": "x.service", "LoadState": "not-found", "ActiveState": "inactive", "MainPID": "0"}
    assert servers.read_server("http://127.0.0.1:9", "x.service", 1, properties)["unit"] is None


def test_secrets_are_blanked():
    server = {
        "environment": {
            "unit": None,
            "process": {
                "HTTPS_PROXY": "http://user:pass@proxy:3128",
                "OLLAMA_API_KEY": "abc",
                "MY_TOKEN": "x",
                "OLLAMA_HOST": "127.0.0.1:1",
                "OLLAMA_KEEP_ALIVE": "-1",
            },
        }
    }
    assert servers.hide_secrets(server)["environment"] == {
        "unit": None,
        "process": {
            "HTTPS_PROXY": "http://***@proxy:3128",
            "OLLAMA_API_KEY": "***",
            "MY_TOKEN": "***",
            "OLLAMA_HOST": "127.0.0.1:1",
            "OLLAMA_KEEP_ALIVE": "-1",
        },
    }
