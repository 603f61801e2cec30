# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module instance_models with a fetch server, against the rig's double of Ollama: systemd is played, the server is
started from the text of its unit."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import threading

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import partial_downloads, temporary_server

from tests.rig.ollama import running
from tests.rig.waiting import wait_until
from tests.unit.plugins.modules.ollama_rig import TINY_BYTES
from tests.unit.plugins.modules.run_module import run_module

OPTIMIZED = {"from": "tiny", "parameters": {"num_ctx": 2048, "num_gpu": 999}}


class Systemd:
    """What systemd does with the unit of the fetch server."""

    def __init__(self, log):
        self.process, self.port, self.log, self.starts = None, None, log, 0

    def ask(self, command, timeout):
        if command[2] == "stop":
            self.kill(signal.SIGTERM)
        if command[2] == "start":
            lines = pathlib.Path(paths.FETCH_UNIT_FILE).read_text().splitlines()
            environment = dict(line[len("Environment=") :].split("=", 1) for line in lines if "Environment=" in line)
            self.port = running.free_port()
            environment.update(PATH=os.environ["PATH"], OLLAMA_HOST="127.0.0.1:%d" % self.port)
            program = [line for line in lines if line.startswith("ExecStart=")][0][len("ExecStart=") :].split()
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(program, env=environment, stdout=log, stderr=log)
            self.starts += 1
        return 0, "", ""

    def show(self, units):
        runs = self.process is not None and self.process.poll() is None
        return {units[0]: {"ActiveState": "active" if runs else "inactive", "LoadState": "loaded"}}

    def kill(self, number=signal.SIGKILL):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)


@pytest.fixture(name="systemd")
def _systemd(rig, tmp_path, monkeypatch):
    found = Systemd(tmp_path / "log")
    for name in ("FETCH_UNIT_FILE", "FETCH_ENVIRONMENT", "FETCH_LOCK", "FETCH_PROGRESS"):
        monkeypatch.setattr(paths, name, str(tmp_path / name.lower()))
    monkeypatch.setattr(temporary_server.units, "ask", found.ask)
    monkeypatch.setattr(temporary_server.systemd, "show", found.show)
    monkeypatch.setattr(temporary_server.systemd, "journal", lambda unit, since: ([], None))
    monkeypatch.setattr(
        temporary_server.listeners, "listeners", lambda: [{"unit": paths.FETCH_UNIT, "port": found.port}]
    )
    yield found
    found.kill()


def run(rig, store, models, check=False, **options):
    entries = [
        dict({"instance": "fetch", "store": str(store), "link_from": [str(rig.store(0))], "insecure": True}, **model)
        for model in models
    ]
    given = {"release": str(rig.directory / "release"), "store": str(store)}
    values = dict({"models": entries, "registry": rig.host, "timeout": 5, "fetch_server": given}, **options)
    return run_module("instance_models", values, check)


def actions(result):
    assert not result.get("failed"), result
    return [model["action"] for model in result["models"]]


@pytest.fixture(name="store")
def _store(tmp_path):
    (tmp_path / "fetch").mkdir()
    return tmp_path / "fetch"


def data_bytes(rig):
    asked = rig.registry.requests + rig.registry.serving
    return sum(request["bytes"] for request in asked if request["kind"] == "data")


def test_models_are_pulled_and_created_by_a_server_that_is_gone_afterwards(rig, systemd, store):
    models = [{"name": "tiny"}, dict(OPTIMIZED, name="tiny:optimized")]
    assert actions(run(rig, store, models, check=True)) == ["pull", "create"] and systemd.starts == 0
    done = run(rig, store, models)
    assert actions(done) == ["pull", "create"] and done["models"][0]["pulled_bytes"] == TINY_BYTES
    assert systemd.starts == 1 and systemd.show(["x"])["x"]["ActiveState"] == "inactive"
    assert not os.path.exists(paths.FETCH_UNIT_FILE)
    record = json.loads(pathlib.Path(paths.FETCH_PROGRESS).read_text())
    assert record["finished"] and record["models"] == {"tiny:latest": {"completed": TINY_BYTES, "total": TINY_BYTES}}
    # Nothing is to be brought any more, so nothing is started.
    assert actions(run(rig, store, models)) == ["none", "none"] and systemd.starts == 1


def test_what_a_store_on_the_host_has_is_linked_without_a_server(rig, systemd, store):
    rig.model()
    rig.model("tiny:optimized", **OPTIMIZED)
    models = [{"name": "tiny"}, dict(OPTIMIZED, name="tiny:optimized")]
    assert actions(run(rig, store, models)) == ["link", "link"] and systemd.starts == 0


def test_a_blob_that_another_model_of_the_host_has_is_not_fetched(rig, systemd, store):
    rig.model()
    rig.model("tiny:other", **OPTIMIZED)
    assert rig.server(0).request("DELETE", "/api/delete", {"model": "tiny"})[0] == 200
    rig.registry.requests.clear()
    done = run(rig, store, [{"name": "tiny"}])
    assert actions(done) == ["pull"] and done["models"][0]["pulled_bytes"] < TINY_BYTES // 2
    assert data_bytes(rig) == done["models"][0]["pulled_bytes"]


def test_a_server_that_is_killed_is_started_again_and_its_models_brought(rig, systemd, store, monkeypatch):
    create = temporary_server.OllamaClient.create
    killed = []

    def kill_once(client, *arguments, **more):
        if not killed:
            killed.append(True)
            systemd.kill()
        return create(client, *arguments, **more)

    monkeypatch.setattr(temporary_server.OllamaClient, "create", kill_once)
    done = run(rig, store, [{"name": "tiny"}, dict(OPTIMIZED, name="tiny:optimized")])
    assert actions(done) == ["pull", "create"] and systemd.starts == 2


def test_a_download_of_a_server_that_was_killed_goes_on_where_it_stopped(rig, systemd, store):
    """Killed in the middle, a server has written down nothing of what it has: not a byte of it is fetched again."""
    rig.registry.requests.clear()
    rig.registry.faults.add({"target": "library/tiny", "fault": "slow", "at": ["data"], "rate": 300_000})

    def kill():
        wait_until(lambda: data_bytes(rig) > TINY_BYTES // 2, "half of the model")
        systemd.kill()
        rig.registry.faults.clear()

    killer = threading.Thread(target=kill)
    killer.start()
    done = run(rig, store, [{"name": "tiny"}])
    killer.join()
    assert actions(done) == ["pull"] and systemd.starts == 2
    assert TINY_BYTES <= data_bytes(rig) <= TINY_BYTES + 3 * partial_downloads._DOUBTFUL_BYTES
    first = [request["range"][0] for request in rig.registry.requests if request["kind"] == "data"]
    assert max(first) > TINY_BYTES // 4


def test_a_failure_is_said_and_the_server_stopped(rig, systemd, store):
    failed = run(rig, store, [{"name": "tiny:nosuch"}, {"name": "tiny"}])
    assert failed["failed"] and "tiny:nosuch" in failed["msg"]
    assert systemd.show(["x"])["x"]["ActiveState"] == "inactive"


@pytest.mark.parametrize("wrong", [{"state": "loaded"}, {"store": "/elsewhere"}])
def test_only_models_of_its_own_store_are_brought(rig, systemd, store, wrong):
    failed = run(rig, store, [dict({"name": "tiny"}, **wrong)])
    assert failed["failed"] and "brings models into its own store" in failed["msg"] and systemd.starts == 0
