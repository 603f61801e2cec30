# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Servers of a gateway by the configuration that the role writes, and the socket for administration."""

from __future__ import annotations

import pathlib
import socket
import threading

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.gateway_socket import (
    GatewaySocket,
    GatewaySocketError,
    KnownServer,
    known_servers,
    servers_of,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.haproxy import configuration
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import gateway

from tests.unit.plugins.plugin_utils.gateway.builders import endpoint, facts, model, settings

FILES = ("lua", "listing", "calls", "models", "keys", "rates", "priorities", "restricted", "allowed", "held")


def written(*endpoints, **given):
    """The configuration of a gateway."""
    made = gateway(settings(**given), facts(*endpoints), None)
    return configuration(made, {name: "/x/" + name for name in FILES})


def test_servers_are_found_by_host_and_instance():
    text = written(
        endpoint("a", "gpu0", model("x:1"), model("y:1")),
        endpoint("a", "gpu1", model("x:1")),
        endpoint("a_b", "gpu0", model("x:1"), address="192.0.2.2"),
        endpoint('odd # "name"', "gpu0", model("z:1"), address="192.0.2.3"),
    )
    assert servers_of(text, "a", ["gpu0"]) == ["model_x:1/a_gpu0", "model_y:1/a_gpu0"]
    assert servers_of(text, "a", []) == ["model_x:1/a_gpu0", "model_x:1/a_gpu1", "model_y:1/a_gpu0"]
    assert servers_of(text, "a_b", ["gpu0", "gpu7"]) == ["model_x:1/a_b_gpu0"]
    assert [one.host for one in known_servers(text) if one.path.startswith("model_z")] == ['odd # "name"']
    assert servers_of(text, "c", []) == []


def test_servers_that_only_check_are_found_too():
    """They tell the servers of an alias whether they are up."""
    text = written(endpoint("a", "gpu0", model("x:1", "chat:1")), endpoint("a", "gpu1", model("y:1", "chat:1")))
    alias = [path for path in servers_of(text, "a", ["gpu0"]) if "chat" in path]
    assert alias == ["model_chat:1/a_gpu0", "check0_model_chat:1/a_gpu0"]


def test_a_host_is_one_server_of_the_gateway_of_a_fleet():
    upstream = {"port": 11480, "key": "0123456789abcdef0123"}
    text = written(endpoint("b", "gpu0", model("x:1")), upstream={**upstream, "addresses": {"b": "192.0.2.2"}})
    assert known_servers(text) == [KnownServer("model_x:1/b_gateway", "b", "gateway")]
    assert servers_of(text, "b", ["gpu0"]) == ["model_x:1/b_gateway"]


@pytest.fixture(name="haproxy")
def _haproxy(tmp_path):
    """A socket that answers from a list and remembers what it was asked."""
    path, asked, answers = str(tmp_path / "admin.sock"), [], {}
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve():
        while True:
            try:
                connection, unused_address = server.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(1000).decode().strip())
                connection.sendall(answers.get(asked[-1], "\n").encode())

    threading.Thread(target=serve, daemon=True).start()
    yield GatewaySocket(path, "/x/held"), asked, answers
    server.close()


def test_what_is_drained(haproxy):
    found, unused_asked, answers = haproxy
    answers["show servers state"] = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n"
        "4 model_x:1 1 a_gpu0 127.0.0.1 2 8 100\n4 model_x:1 2 a_gpu1 127.0.0.1 2 0 100\n\n"
    )
    assert found.drained() == {"model_x:1/a_gpu0"}


def test_it_waits_for_requests_under_way(haproxy):
    found, asked, answers = haproxy
    rows = (
        "# pxname,svname,qcur,qmax,scur,smax\nmodel_x:1,a_gpu0,0,0,3,9\nmodel_x:1,a_gpu1,0,0,5,9\n"
        "model_x:1,BACKEND,0,0,8,9\n"
    )
    answers["show stat"] = rows
    assert found.under_way(["model_x:1/a_gpu0"]) == 3
    assert found.wait(["model_x:1/a_gpu0"], 0.5) == 3 and len(asked) > 2
    answers["show stat"] = rows.replace("0,3,9", "0,0,9")
    assert found.wait(["model_x:1/a_gpu0"], 10) == 0


def test_drained_and_taken_back(haproxy):
    found, asked, unused_answers = haproxy
    found.drain(["m/a", "m/b"])
    assert asked == [
        "del map /x/held m",
        "add map /x/held m 1",
        "set server m/a state drain",
        "set server m/b state drain",
    ]
    asked.clear()
    found.take_back(["m/a"])
    assert asked == ["show stat", "set server m/a state ready", "set server m/a health up", "del map /x/held m"]


def test_a_server_that_follows_the_check_of_another_has_no_health_of_its_own(haproxy):
    found, asked, answers = haproxy
    answers["show stat"] = "# pxname,svname,scur,tracked\nm,a,0,check0_m/a\ncheck0_m,a,0,\nm,BACKEND,0,\n"
    found.take_back(["m/a", "check0_m/a"])
    assert [command for command in asked if command.startswith("set")] == [
        "set server m/a state ready",
        "set server check0_m/a state ready",
        "set server check0_m/a health up",
    ]


def test_what_haproxy_refuses_is_said(haproxy):
    found, unused_asked, answers = haproxy
    answers["set server m/c state drain"] = "No such server.\n"
    with pytest.raises(GatewaySocketError, match="HAProxy refuses 'set server m/c state drain': No such server."):
        found.drain(["m/c"])
    answers["del map /x/held m"] = "Key not found.\n"
    found.take_back(["m/a"])


def test_a_gateway_that_does_not_answer(tmp_path: pathlib.Path):
    with pytest.raises(GatewaySocketError, match="does not answer at .*no.sock: No such file"):
        GatewaySocket(str(tmp_path / "no.sock")).drained()
