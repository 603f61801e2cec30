# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Backends of a gateway: names, servers, weights."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import plan_endpoints
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import fleet
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import through
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.backends import backend_name, backends, spellings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

from tests.unit.plugins.module_utils.changes.builders import model as entry
from tests.unit.plugins.module_utils.changes.builders import plan
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
    with pytest.raises(GatewayError, match="has 1, which is neither a host nor an instance"):
        backends([endpoint("a", "gpu0", model("x:latest"))], "a", [1])


def test_models_of_an_alias_have_shares():
    two = [endpoint("a", "gpu0", model("x:latest", "chat:latest")), endpoint("b", "gpu0", model("y:1", "chat:latest"))]
    found = {one.models[0]: one for one in backends(two, "c", weights={"chat": {"x": 90, "y:1": 10}})}
    assert [server.weight for server in found["chat:latest"].servers] == [90, 10]
    assert found["chat:latest"].served_as == ("x:latest", "y:1")
    assert [server.weight for server in found["x:latest"].servers] == [100]


GUIDE = pathlib.Path(__file__).resolve().parents[5] / "docs" / "docsite" / "rst" / "gateway.rst"


def planned(**models):
    """{host: what its facts have} of hosts with a model each, which is optimized and also called chat."""
    made = {
        host: plan(entry(name, create_as=name + "-optimized", aliases=["chat", "assist"]))
        for host, name in models.items()
    }
    # As JSON, as it is in the facts of a host.
    return fleet(json.loads(json.dumps({host: plan_endpoints(one, "192.0.2.1") for host, one in made.items()})))


def weights_of(hosts, weights, name="chat:latest"):
    """The weights of the servers of a name."""
    found = {one: backend.servers for backend in backends(hosts, None, (), weights) for one in backend.models}
    return [server.weight for server in found[name]]


def test_the_weights_of_the_guide_are_those_of_optimized_models():
    """Each is served under another name than the one by which users and clients call it."""
    (text,) = re.findall(r"``ollama_gateway_weights: ({.*?})``", GUIDE.read_text(encoding="utf-8"))
    weights = yaml.safe_load(text)
    hosts = planned(a="llama3.1:8b", b="qwen3:8b")
    assert weights_of(hosts, weights) == [90, 10]
    assert weights_of(hosts, weights, "assist:latest") == [100, 100]
    reached = through.Upstream(11480, {"a": "192.0.2.1", "b": "192.0.2.2"}, None)
    of_fleet = {one.models[0]: one.servers for one in through.backends(hosts, reached, (), weights)}
    assert [server.weight for server in of_fleet["chat:latest"]] == [90, 10]
    assert weights_of(hosts, {"Chat:latest": {"Llama3.1:8B-optimized": 1, "library/qwen3:8b": 2}}) == [1, 2]


def test_a_model_that_is_optimized_on_one_of_two_hosts_has_one_weight_or_two():
    plain = endpoint("a", "gpu0", model("x:1", "chat:latest"))
    optimized = endpoint("b", "gpu0", model("x:1-optimized", "x:1", "chat:latest"))
    hosts = [plain, optimized, endpoint("c", "gpu0", model("y:1", "chat:latest"))]
    assert weights_of(hosts, {"chat": {"x:1": 5}}) == [5, 5, 100]
    assert weights_of(hosts, {"chat": {"x:1": 5, "x:1-optimized": 7}}) == [5, 7, 100]


@pytest.mark.parametrize("name", ["chat", "assist", "CHAT:latest"])
def test_what_all_models_of_an_alias_are_called_has_no_weight(name):
    words = (
        "ollama_gateway_weights gives chat:latest a weight of the model %s, and it stands for llama3.1:8b-optimized or "
        "llama3.1:8b, qwen3:8b-optimized or qwen3:8b: give one of these." % name
    )
    with pytest.raises(GatewayError) as failure:
        weights_of(planned(a="llama3.1:8b", b="qwen3:8b"), {"chat": {name: 5}})
    assert str(failure.value) == words


def test_a_model_has_one_weight():
    words = "gives chat:latest two weights of one model, X:1-optimized and x:1: leave one of them"
    with pytest.raises(GatewayError, match=words):
        weights_of(planned(a="x:1", b="y:1"), {"chat": {"x:1": 5, "X:1-optimized": 7}})


@pytest.mark.parametrize(
    "weights, words",
    [
        ({"nope": {"x": 1}}, "^ollama_gateway_weights has nope, and no endpoint serves it; there are: x:latest"),
        ({"x": {"Y": 1}}, "gives x:latest a weight of the model Y, and it stands for x:latest"),
        ({"x": {"x": 257}}, "not a number from 0 to 256"),
        ({"x": {"../x": 1}}, "invalid"),
        ({1: {"x": 1}}, "ollama_gateway_weights: "),
        ({"x": 50}, "gives x the value 50; give each alias its models with a weight each, such as {chat: "),
        ({"x": None}, "gives x the value None; give each alias its models"),
        ({"x": ["x"]}, "gives x the value \\['x'\\]; give each alias its models"),
        ("x=50", "ollama_gateway_weights is 'x=50'; give each alias its models"),
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
