# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The unit of the fetch server, and that it is stopped however its use ends. What systemd does is played."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import hardening, paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import file_system
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import fetch_server, temporary_server
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fetch_server import FetchServer, FetchServerError

from tests.unit.plugins.scripted_server import ScriptedServer


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    """A host whose systemd notes what it is told: `said`, `state` of the unit, `port` that it listens on."""

    class Host:
        said: list = []
        state = "inactive"
        after_start = "active"
        port = None
        loaded = "not-found"

    host = Host()
    host.said = []
    for name in ("FETCH_UNIT_FILE", "FETCH_ENVIRONMENT", "FETCH_LOCK"):
        monkeypatch.setattr(paths, name, str(tmp_path / name.lower()))
    monkeypatch.setattr(temporary_server, "_INTERVAL", 0)
    monkeypatch.setattr(temporary_server, "START_SECONDS", 5)

    def ask(command, timeout):
        host.said.append(" ".join(command[2:]))
        if command[2] in ("start", "stop"):
            host.state = host.after_start if command[2] == "start" else "inactive"
        return 0, "", ""

    def show(units):
        return {units[0]: {"ActiveState": host.state, "LoadState": host.loaded}}

    monkeypatch.setattr(temporary_server.units, "ask", ask)
    monkeypatch.setattr(temporary_server.systemd, "show", show)
    monkeypatch.setattr(
        temporary_server.systemd, "journal", lambda unit, since: (["a", "proxy http://u:secret@p"], None)
    )
    monkeypatch.setattr(
        temporary_server.listeners,
        "listeners",
        lambda: [{"unit": paths.FETCH_UNIT, "port": host.port}] if host.port else [],
    )
    return host


@pytest.fixture(name="answering")
def _answering():
    server = ScriptedServer({("GET", "/api/version"): (200, {"version": "0.32.15"})})
    yield server
    server.stop()


def server(tmp_path, **environment):
    (tmp_path / "store").mkdir(exist_ok=True)
    return FetchServer("/lib/releases/0.32.15", str(tmp_path / "store"), environment, None)


def test_it_sees_no_gpu_prunes_nothing_and_writes_into_its_store_alone():
    text = FetchServer("/lib/releases/0.32.15", "/srv/models/fetch").unit_text()
    lines = text.splitlines()
    for line in (
        "User=ollama",
        "ExecStart=/lib/releases/0.32.15/bin/ollama serve",
        "Environment=OLLAMA_HOST=127.0.0.1:0",
        "Environment=OLLAMA_MODELS=/srv/models/fetch",
        "Environment=HOME=/srv/models/fetch",
        "Environment=OLLAMA_NOPRUNE=1",
        "Environment=OLLAMA_NO_CLOUD=1",
        "Environment=OLLAMA_VULKAN=0",
        "Environment=CUDA_VISIBLE_DEVICES=-1",
        "PrivateDevices=true",
        "ProtectHome=true",
        "SystemCallFilter=@system-service",
        "IPAddressDeny=multicast",
        "ReadWritePaths=/srv/models/fetch",
        "Restart=no",
    ):
        assert line in lines, line
    assert "[Install]" not in text and not re.search("@[a-z]+@", text)
    assert paths.FETCH_UNIT_FILE.startswith("/run/")


def test_its_store_is_there_where_a_home_leads_to_it(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "home").symlink_to("data")
    named, place = str(tmp_path / "home" / "fetch"), str(tmp_path / "data" / "fetch")
    monkeypatch.setattr(file_system, "HOMES", (str(tmp_path / "home"),))
    assert "ProtectHome=tmpfs\nBindPaths=%s\n" % place in FetchServer("/r", place).unit_text()
    monkeypatch.setattr(hardening, "HOMES", (str(tmp_path / "home"),))
    assert "ProtectHome=tmpfs\nBindPaths=%s:%s\n" % (place, named) in FetchServer("/r", named).unit_text()


def test_of_the_environment_it_gets_what_leads_to_registries():
    given = {"HTTPS_PROXY": "http://p:1", "SSL_CERT_FILE": "/c", "CUDA_VISIBLE_DEVICES": "0", "OLLAMA_NOPRUNE": "0"}
    found = FetchServer("/r", "/s", given)
    assert found.environment_text() == 'HTTPS_PROXY="http://p:1"\nSSL_CERT_FILE="/c"\n'
    assert "p:1" not in repr(found)


def test_it_is_stopped_after_use(host, answering, tmp_path):
    host.port = int(answering.url.rpartition(":")[2])
    with fetch_server.running(server(tmp_path)) as url:
        assert url == answering.url and host.state == "active"
        assert (tmp_path / "fetch_unit_file").stat().st_mode & 0o777 == 0o644
        assert (tmp_path / "fetch_environment").stat().st_mode & 0o777 == 0o600
    assert host.state == "inactive" and not list(tmp_path.glob("fetch_*"))
    assert host.said == ["daemon-reload", "start ollama-fetch.service", "stop ollama-fetch.service"] + [
        "reset-failed ollama-fetch.service"
    ]
    host.loaded = "loaded"
    with pytest.raises(KeyError), fetch_server.running(server(tmp_path)):
        raise KeyError
    assert host.state == "inactive" and host.said.count("daemon-reload") == 1


def test_one_that_another_run_left_is_replaced(host, answering, tmp_path):
    host.port, host.state = int(answering.url.rpartition(":")[2]), "active"
    with fetch_server.running(server(tmp_path)):
        assert host.said[0] == "stop ollama-fetch.service" and "start ollama-fetch.service" in host.said


def test_one_that_ends_is_reported_with_its_journal_and_without_secrets(host, tmp_path):
    host.after_start = "failed"
    with pytest.raises(FetchServerError) as caught, fetch_server.running(server(tmp_path)):
        pytest.fail("it does not run")
    assert "nothing that serves was touched" in str(caught.value) and "secret" not in str(caught.value)
    assert host.said[-2] == "stop ollama-fetch.service" and not list(tmp_path.glob("fetch_*"))


def test_one_fetches_at_a_time(host, monkeypatch):
    with fetch_server.fetching():
        with pytest.raises(BlockingIOError):
            import fcntl

            with open(paths.FETCH_LOCK) as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
