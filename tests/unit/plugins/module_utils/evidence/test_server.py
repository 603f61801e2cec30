# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a server runs with, and why it would have to be restarted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import server as servers
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import systemd

from tests.unit.plugins.scripted_server import serving


@pytest.fixture
def script(tmp_path):
    """A release directory with a script behind a link, and a process that runs it: (link, target, process)."""
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
    assert servers.runs(path, process.pid) is True
    assert servers.runs("/elsewhere/ollama", process.pid) is False
    assert servers.runs(path, None) is None

    (directory / "releases" / "2").symlink_to(directory / "releases" / "1")
    later = time.time() + 100
    (directory / "new").symlink_to(directory / "releases" / "1")
    os.utime(directory / "new", (later, later), follow_symlinks=False)
    os.replace(directory / "new", directory / "current")
    assert servers.runs(path, process.pid) is False


def test_a_program_is_known_by_its_file_also_where_that_was_replaced(tmp_path):
    program = tmp_path / "ollama"
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([str(program), "600"]) as process:
        try:
            assert servers.runs(str(program), process.pid) is True
            assert servers.runs(sys.executable, process.pid) is False
            program.unlink()
            shutil.copy(shutil.which("sleep"), program)
            assert servers.runs(str(program), process.pid) is False
        finally:
            process.kill()


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
    monkeypatch.setattr(systemd, "show", lambda names: {"ollama.service": properties})
    with serving(routes) as double:
        found = servers.read_server(double.url, "ollama.service")
    assert (found["reachable"], found["version"], found["models"]) == (True, "0.32.15", [{"name": "tiny:latest"}])
    assert found["unit"] == {
        "name": "ollama.service",
        "active_state": "active",
        "sub_state": "running",
        "main_pid": os.getpid(),
        "needs_daemon_reload": True,
        "changed_since_start": False,
        "path": "/etc/systemd/system/ollama.service",
        "drop_ins": ["/a.conf", "/b.conf"],
    }
    assert found["environment"]["unit"] == {"OLLAMA_HOST": "x"}
    assert isinstance(found["environment"]["process"], dict)


def test_a_unit_file_that_was_written_after_the_process_started(monkeypatch, tmp_path):
    unit, drop_in = tmp_path / "unit", tmp_path / "x.conf"
    unit.touch(), drop_in.touch()
    properties = {"MainPID": "7", "FragmentPath": str(unit), "DropInPaths": str(drop_in)}
    now = time.time()
    monkeypatch.setattr(servers.proc, "process_start", lambda pid: now - 100)

    def changed(unit_written, drop_in_written):
        os.utime(unit, (unit_written, unit_written))
        os.utime(drop_in, (drop_in_written, drop_in_written))
        return servers._changed_since_start(properties)

    old = now - 1000
    assert changed(now - 50, old) is True and changed(old, now - 50) is True
    assert changed(old, old) is False and changed(now - 99.5, old) is False
    # No restart would make the process younger than a file from the future.
    assert changed(now + 1000, old) is False
    assert servers._changed_since_start(dict(properties, MainPID="0")) is None
    monkeypatch.setattr(servers.proc, "process_start", lambda pid: None)
    assert changed(now - 50, old) is None


def test_a_server_that_does_not_answer_is_no_error():
    found = servers.read_server("http://127.0.0.1:9", None, timeout=1)
    assert found["reachable"] is False and "127.0.0.1:9" in found["error"]
    assert found["unit"] is None


def test_a_unit_that_systemd_does_not_know():
    properties = {"Id": "x.service", "LoadState": "not-found", "ActiveState": "inactive", "MainPID": "0"}
    assert servers.read_server("http://127.0.0.1:9", "x.service", 1, properties)["unit"] is None


def test_what_the_plan_hides_is_compared_with_the_units_files():
    def found(process, unit):
        return servers.differences({"A_TOKEN": "(hidden)"}, {"process": process, "unit": unit})

    assert found({"A_TOKEN": "x"}, {"A_TOKEN": "x"}) == []
    assert found({"A_TOKEN": "x"}, {"A_TOKEN": "y"}) == [{"name": "A_TOKEN", "difference": "other_than_unit"}]
    assert found({}, {"A_TOKEN": "y"}) == [{"name": "A_TOKEN", "difference": "missing"}]
    assert found({"A_TOKEN": "(hidden)"}, None) == [{"name": "A_TOKEN", "difference": "other_than_unit"}]


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
            "HTTPS_PROXY": "(hidden)",
            "OLLAMA_API_KEY": "(hidden)",
            "MY_TOKEN": "(hidden)",
            "OLLAMA_HOST": "127.0.0.1:1",
            "OLLAMA_KEEP_ALIVE": "-1",
        },
    }


def test_each_server_of_a_plan_should_run_the_release_of_its_instance(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "INSTANCE_RELEASES", str(tmp_path))
    monkeypatch.setattr(systemd, "show", lambda names: {})
    for name, version in (("gpu0", "0.32.15"), ("gpu1", "0.32.14")):
        (tmp_path / name).symlink_to("../releases/" + version)
    instances = [{"name": name, "unit": paths.unit(name), "url": "http://127.0.0.1:1"} for name in ("gpu0", "gpu1")]
    found = servers.read_servers({"instances": instances}, timeout=1.0)
    wanted = {name: server["wanted_executable"] for name, server in found.items()}
    place = os.path.realpath(str(tmp_path.parent / "releases"))
    assert wanted == {"gpu0": place + "/0.32.15/bin/ollama", "gpu1": place + "/0.32.14/bin/ollama"}
    one = servers.read_servers({"instances": instances[:1]}, "/usr/bin/true", 1.0)["gpu0"]
    assert one["wanted_executable"] == os.path.realpath("/usr/bin/true") and one["runs_executable"] is None
