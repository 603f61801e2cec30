# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""gateway_drain: servers that are not yet as they should be are set, and what they have begun is waited for."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import gateway_socket

from tests.unit.plugins.modules.run_module import run_module

CONFIGURATION = """
backend model_x:1
    server a_gpu0 192.0.2.1:11434 maxconn 2 weight 100 # {"host": "a", "instance": "gpu0"}
    server a_gpu1 192.0.2.1:11435 maxconn 2 weight 100 # {"host": "a", "instance": "gpu1"}
"""


class Fake:
    """A gateway of which one server is drained."""

    def __init__(self):
        self.is_drained, self.set, self.waited = {"model_x:1/a_gpu1"}, [], None

    def drained(self):
        return self.is_drained

    def drain(self, servers):
        self.set += [(server, "drain") for server in servers]

    def take_back(self, servers):
        self.set += [(server, "ready") for server in servers]

    def wait(self, servers, seconds):
        self.waited = seconds
        return 3


@pytest.fixture(name="fake")
def _fake(monkeypatch, tmp_path):
    fake = Fake()
    (tmp_path / "running.cfg").write_text(CONFIGURATION)
    (tmp_path / "admin.sock").write_text("")
    monkeypatch.setattr(gateway_socket, "RUNNING", str(tmp_path / "running.cfg"))
    monkeypatch.setattr(gateway_socket, "SOCKET", str(tmp_path / "admin.sock"))
    monkeypatch.setattr(gateway_socket, "GatewaySocket", lambda path: fake)
    fake.place = tmp_path
    return fake


def test_servers_are_drained_and_waited_for(fake):
    found = run_module("gateway_drain", {"host": "a", "timeout": 5})
    assert fake.set == [("model_x:1/a_gpu0", "drain")] and fake.waited == 5
    assert found["changed"] and found["under_way"] == 3
    assert found["servers"] == ["model_x:1/a_gpu0", "model_x:1/a_gpu1"]


def test_servers_are_taken_back(fake):
    assert run_module("gateway_drain", {"host": "a", "state": "ready"})["changed"]
    assert fake.set == [("model_x:1/a_gpu1", "ready")] and fake.waited == 0
    fake.is_drained = set()
    assert not run_module("gateway_drain", {"host": "a", "instances": ["gpu1"], "state": "ready"})["changed"]


def test_check_mode_asks_and_sets_nothing(fake):
    found = run_module("gateway_drain", {"host": "a"}, check=True)
    assert found["changed"] and fake.set == [] and fake.waited == 0


def test_a_host_that_the_gateway_does_not_serve(fake):
    found = run_module("gateway_drain", {"host": "b"})
    assert (found["changed"], found["servers"], fake.waited) == (False, [], None)


def test_where_no_gateway_runs_nothing_is_done(fake):
    (fake.place / "admin.sock").unlink()
    found = run_module("gateway_drain", {"host": "a"})
    assert (found["changed"], found["servers"]) == (False, [])


def test_what_goes_wrong_is_one_sentence(fake):
    (fake.place / "running.cfg").write_text(CONFIGURATION.replace('"gpu1"}', '"gpu1"x}'))
    assert run_module("gateway_drain", {"host": "a"})["msg"].startswith("The gateway cannot be told: ")
