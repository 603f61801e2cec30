# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Backends of a gateway: names, servers, weights."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.backends import backend_name, backends, spellings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

from tests.unit.plugins.plugin_utils.gateway.builders import endpoint, model


def test_spellings_are_those_that_ollama_completes():
    assert spellings("llama3:latest") == (
        "library/llama3",
        "library/llama3:latest",
        "llama3",
        "llama3:latest",
        "registry.ollama.ai/library/llama3",
        "registry.ollama.ai/library/llama3:latest",
    )
    assert spellings("Me/X:8B") == ("me/x:8b", "registry.ollama.ai/me/x:8b")
    assert spellings("hub.example:5000/me/x:q4") == ("hub.example:5000/me/x:q4",)


def test_names_of_the_same_servers_share_a_backend():
    """So that an instance never gets more requests than it has slots."""
    both = endpoint("a", "gpu0", model("x:latest", "chat:latest"), model("y:latest"))
    found = backends([both], "a")
    assert [(one.name, one.models) for one in found] == [
        ("model_x:latest", ("chat:latest", "x:latest")),
        ("model_y:latest", ("y:latest",)),
    ]
    assert found[0].servers[0].loaded_as == ("x:latest", "chat:latest")


def test_an_instance_of_the_gateways_own_host_is_reached_on_loopback():
    (found,) = backends([endpoint("a", "gpu0", model("x:latest"))], "a")
    assert found.servers[0].address == "127.0.0.1"
    (found,) = backends([endpoint("a", "gpu0", model("x:latest"))], "b")
    assert found.servers[0].address == "192.0.2.1"


def test_an_instance_on_loopback_of_another_host_is_refused():
    hidden = endpoint("a", "gpu0", model("x:latest"), address="127.0.0.1", listen_address="127.0.0.1")
    assert backends([hidden], "a")
    with pytest.raises(GatewayError, match="gpu0 of a listens on 127.0.0.1, which no other host reaches"):
        backends([hidden], "b")


@pytest.mark.parametrize("drained, weights", [(["a"], [0, 100]), (["gpu0"], [0, 0]), (["b/gpu0"], [100, 0])])
def test_what_is_drained_has_no_weight(drained, weights):
    two = [endpoint(host, "gpu0", model("x:latest")) for host in "ab"]
    (found,) = backends(two, "c", drained)
    assert [server.weight for server in found.servers] == weights


def test_a_drained_host_that_there_is_not_is_a_mistake():
    with pytest.raises(GatewayError, match="has z, which is neither a host nor an instance"):
        backends([endpoint("a", "gpu0", model("x:latest"))], "a", ["z"])


def test_models_of_an_alias_have_shares():
    two = [endpoint("a", "gpu0", model("x:latest", "chat:latest")), endpoint("b", "gpu0", model("y:1", "chat:latest"))]
    found = {one.models[0]: one for one in backends(two, "c", weights={"chat": {"x": 90, "y:1": 10}})}
    assert [server.weight for server in found["chat:latest"].servers] == [90, 10]
    assert found["chat:latest"].served_as == ("x:latest", "y:1")
    assert [server.weight for server in found["x:latest"].servers] == [100]


@pytest.mark.parametrize(
    "weights, words",
    [
        ({"nope": {"x": 1}}, "no endpoint serves it; there are: x:latest"),
        ({"x": {"y": 1}}, "it stands for x:latest"),
        ({"x": {"x": 257}}, "not a number from 0 to 256"),
        ({"x": {"../x": 1}}, "invalid"),
    ],
)
def test_wrong_weights_are_said(weights, words):
    with pytest.raises(GatewayError, match=words):
        backends([endpoint("a", "gpu0", model("x:latest"))], "a", weights=weights)


def test_names_of_backends_differ_as_the_names_of_models_do():
    names = ("x_y:1", "x/y:1", "x__y:1", "x-y:1", "x/_y:1", "x_/y:1")
    assert len({backend_name(name) for name in names}) == len(names)


def test_capabilities_are_those_of_all_servers():
    two = [
        endpoint("a", "gpu0", model("x:latest", capabilities=("completion", "vision"))),
        endpoint("b", "gpu0", model("x:latest", context_length=4096)),
    ]
    (found,) = backends(two, "c")
    assert (found.capabilities, found.context_length) == (("completion",), 4096)
