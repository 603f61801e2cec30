# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Configurations of LiteLLM and nginx from the endpoints of a fleet."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import EndpointsError, plan_endpoints
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import document
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.proxies import litellm_config, nginx_config

from tests.unit.plugins.module_utils.changes.builders import model, plan

CHAT = dict(context_length=8192, parallel=2, capabilities=["completion", "vision"])


def fleet(**addresses):
    """The document of hosts: {host: (address, models)}; an address of None is loopback."""
    entries = {}
    for host, (address, models) in addresses.items():
        one = plan(*models)
        one["instances"][0]["address"] = "127.0.0.1" if address is None else "0.0.0.0"
        entries[host] = plan_endpoints(one, address)
    return document(entries)


def test_each_instance_is_a_deployment_of_each_of_its_names():
    models = [model(aliases=["chat"], **CHAT), model("nomic-embed-text", capabilities=["embedding"])]
    found = litellm_config(fleet(a=("192.0.2.1", models), b=("2001:db8::7", [model(**dict(CHAT, parallel=4))])))
    by_name = {}
    for one in found["model_list"]:
        by_name.setdefault(one["model_name"], []).append(one)
    assert sorted(by_name) == ["chat:latest", "llama3.1:8b", "nomic-embed-text:latest"]
    assert by_name["llama3.1:8b"] == [
        {
            "model_name": "llama3.1:8b",
            "litellm_params": {
                "model": "ollama_chat/llama3.1:8b",
                "api_base": "http://192.0.2.1:11434",
                "max_parallel_requests": 2,
            },
            "model_info": {
                "id": "a/gpu0/llama3.1:8b",
                "mode": "chat",
                "max_input_tokens": 8192,
                "supports_vision": True,
            },
        },
        {
            "model_name": "llama3.1:8b",
            "litellm_params": {
                "model": "ollama_chat/llama3.1:8b",
                "api_base": "http://[2001:db8::7]:11434",
                "max_parallel_requests": 4,
            },
            "model_info": {
                "id": "b/gpu0/llama3.1:8b",
                "mode": "chat",
                "max_input_tokens": 8192,
                "supports_vision": True,
            },
        },
    ]
    assert by_name["chat:latest"][0]["litellm_params"]["model"] == "ollama_chat/llama3.1:8b"
    (embedding,) = by_name["nomic-embed-text:latest"]
    assert embedding["litellm_params"]["model"] == "ollama/nomic-embed-text:latest"
    assert embedding["model_info"] == {"id": "a/gpu0/nomic-embed-text:latest", "mode": "embedding"}
    assert found["router_settings"]["model_group_alias"] == {
        "chat": "chat:latest",
        "nomic-embed-text": "nomic-embed-text:latest",
    }


def test_instances_on_loopback_are_for_their_own_host():
    hosts = fleet(a=(None, [model()]), b=("192.0.2.2", [model()]))
    for make in (litellm_config, nginx_config):
        assert "192.0.2.2" in str(make(hosts)) and "127.0.0.1:11434" not in str(make(hosts))
        assert "127.0.0.1:11434" in str(make(hosts, here="a"))
        with pytest.raises(EndpointsError, match="only their own hosts reach"):
            make(fleet(a=(None, [model()])))
        with pytest.raises(EndpointsError, match="No host serves a model"):
            make(fleet())


def test_nginx_gets_the_instances_that_serve_a_model():
    hosts = fleet(a=("192.0.2.1", [model("x", aliases=["chat"])]), b=("192.0.2.2", [model("y"), model("x")]))
    with pytest.raises(EndpointsError, match="The instances serve different models, and nginx does not read which"):
        nginx_config(hosts)
    both, one = nginx_config(hosts, "X"), nginx_config(hosts, "chat", listen="[::]:8080")
    assert "server 192.0.2.1:11434 " in both and "server 192.0.2.2:11434 " in both
    assert "#   x:latest\n# It" in both
    assert "192.0.2.2" not in one and "listen [::]:8080;" in one
    assert "#   chat:latest\n#   x:latest\n# It" in one
    for path in ("/api/pull", "/api/delete", "/api/create"):
        assert path not in both


@pytest.mark.parametrize(
    "given, told",
    [
        ({"model": "nope"}, "Nobody serves nope; there are: x:latest"),
        ({"model": "a b"}, "Nobody serves a b; there are"),
        ({"model": ""}, "Nobody serves ; there are"),
        ({"listen": "localhost:80"}, "'localhost:80' is no place to listen on"),
        ({"listen": "127.0.0.1:80; x"}, "no place to listen on"),
        ({"listen": "80"}, "no place to listen on"),
    ],
)
def test_what_nginx_cannot_have(given, told):
    with pytest.raises(EndpointsError, match=told):
        nginx_config(fleet(a=("192.0.2.1", [model("x")])), **given)
