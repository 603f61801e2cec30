# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From the variables of the role to a gateway."""

from __future__ import annotations

import hashlib
import pathlib
import re

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import inputs
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.certificate import certificate
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import gateway
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

from tests.unit.plugins.plugin_utils.gateway.builders import KEY, endpoint, facts, model, settings

ROLE = pathlib.Path(__file__).resolve().parents[5] / "roles" / "ollama_gateway"
ONE = facts(endpoint("a", "gpu0", model("x:latest", "chat:latest"), model("y:latest")))


def test_a_key_is_kept_as_its_hash():
    keys = [{"name": "anna", "key": KEY, "models": ["chat"], "rate": 5, "priority": 3}]
    (found,) = gateway(settings(keys=keys), ONE, None).keys
    assert found.sha256 == hashlib.sha256(KEY.encode()).hexdigest()
    assert (found.backends, found.rate, found.priority) == (("model_x:latest",), 5, 3)
    assert KEY not in repr(gateway(settings(keys=keys), ONE, None))


@pytest.mark.parametrize(
    "key, words",
    [
        ({"name": "a b", "key": KEY}, "has the name 'a b'"),
        ({"name": "a/b", "key": KEY}, "has the name 'a/b'"),
        ({"name": "a"}, "needs either key or sha256"),
        ({"name": "a", "key": KEY, "sha256": "0" * 64}, "needs either key or sha256"),
        ({"name": "a", "sha256": "x" * 64}, "64 hexadecimal digits"),
        ({"name": "a", "key": "short"}, "fewer than 16 characters"),
        ({"name": "a", "key": KEY + '"\n'}, "that a bearer token cannot have"),
        ({"name": "a", "key": KEY, "rate": 0}, "requests a minute"),
        ({"name": "a", "key": KEY, "priority": 101}, "from -100 to 100"),
        ({"name": "a", "key": KEY, "models": ["../x"]}, "models of the key a: "),
        ({"name": "a", "key": KEY, "models": "x"}, "The models of the key a are 'x'; give a list such as "),
        ({"name": "a", "key": KEY, "models": [1]}, "models of the key a: "),
        (KEY, "has an entry that is no dictionary; give each entry as {name: "),
    ],
)
def test_a_wrong_key_is_said_without_the_key(key, words):
    with pytest.raises(GatewayError, match=words) as failure:
        gateway(settings(keys=[key]), ONE, None)
    assert KEY not in str(failure.value)


@pytest.mark.parametrize("keys", [KEY, {"name": "a", "key": KEY}, None])
def test_keys_that_are_no_list_are_not_shown(keys):
    with pytest.raises(GatewayError, match=r"^ollama_gateway_keys is no list; give a list such as \[{name") as failure:
        gateway(settings(keys=keys), ONE, None)
    assert KEY not in str(failure.value)


@pytest.mark.parametrize("name", ["host_names", "origins", "acknowledged", "drain"])
@pytest.mark.parametrize("value", ["a", "", None, {"a": 1}, 1])
def test_a_list_is_given_as_a_list(name, value):
    """The specification of the role takes a text for a list, and each of its letters would be an entry here."""
    words = "ollama_gateway_%s is %r; give a list such as [" % (name, value)
    with pytest.raises(GatewayError, match=re.escape(words)):
        gateway(settings(**{name: value}), ONE, None)
    with pytest.raises(GatewayError, match=r"give a list such as \[llm.example\]"):
        certificate(settings(tls="self_signed", host_names="front"), {}, None)


def test_two_keys_differ_in_name_and_key():
    with pytest.raises(GatewayError, match="the same key twice: a, b"):
        gateway(settings(keys=[{"name": name, "key": KEY} for name in "ab"]), ONE, None)
    with pytest.raises(GatewayError, match="the same name twice: a"):
        gateway(settings(keys=[{"name": "a", "key": KEY + end} for end in "xy"]), ONE, None)


def test_what_is_open_is_acknowledged_by_name():
    keys = [{"name": "a", "key": KEY}]
    with pytest.raises(GatewayError, match="has no authentication"):
        gateway(settings(listen_address="0.0.0.0"), ONE, "/x.pem")
    with pytest.raises(GatewayError, match="without encryption"):
        gateway(settings(listen_address="0.0.0.0", keys=keys), ONE, None)
    assert gateway(settings(listen_address="0.0.0.0", acknowledged=["keys", "tls"]), ONE, None)
    assert gateway(settings(listen_address="0.0.0.0", keys=keys), ONE, "/x.pem")
    with pytest.raises(GatewayError, match="it may have: keys, tls"):
        gateway(settings(acknowledged=["everything"]), ONE, None)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"listen_address": "example.org"}, "give an IP address"),
        ({"port": 0}, "ollama_gateway_port is 0"),
        ({"metrics_port": "many"}, "ollama_gateway_metrics_port is 'many'"),
        ({"metrics_port": 11480}, "ollama_gateway_metrics_port is 11480, which clients use"),
        ({"host_names": ["a b"]}, "'a b', which is no host name; give a name such as"),
        ({"host_names": ["192.0.2.300"]}, "'192.0.2.300', which is no host name"),
        ({"host_names": ["llm.example:443"]}, "no host name; give a name such as llm.example, without a port"),
        ({"origins": ["*"]}, "an origin looks like"),
        ({"origins": ["null"]}, "an origin looks like"),
        ({"origins": ["https://*.example.org"]}, "an origin looks like"),
        ({"origins": ["https://x.example }"]}, "an origin looks like"),
        ({"body_bytes": 1}, "ollama_gateway_body_bytes is 1; give a number from 4096"),
        ({"queue": "many"}, "ollama_gateway_queue is 'many'"),
        ({"queue": 0}, "ollama_gateway_queue is 0; give a number from 1 to"),
        ({"connections": 32001}, "ollama_gateway_connections is 32001; give a number from 1 to 32000"),
    ],
)
def test_a_wrong_variable_is_said(given, words):
    with pytest.raises(GatewayError, match=words):
        gateway(settings(**given), ONE, None)


def test_the_unit_may_open_what_the_most_connections_need():
    """HAProxy 2.6 needs 64428 descriptors for 32000 connections and 400 checks. It does not start with fewer, and its
    check of the configuration does not see that."""
    unit = (ROLE / "files" / "ollama-gateway.service").read_text(encoding="utf-8")
    (limit,) = re.findall(r"^LimitNOFILE=(\d+)$", unit, re.M)
    assert 2 * inputs.MOST_CONNECTIONS + 1500 <= int(limit)
    assert gateway(settings(connections=inputs.MOST_CONNECTIONS, queue=1), ONE, None).limits.queue == 1


def test_the_ranges_are_in_the_specification_of_the_role():
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    described = {name: str(one["description"]) for name, one in options["argument_specs"]["main"]["options"].items()}
    assert "from 1 to %d" % inputs.MOST_CONNECTIONS in described["ollama_gateway_connections"]
    assert "at least 1." in described["ollama_gateway_queue"]


def test_a_request_may_name_the_host_as_the_inventory_does():
    found = gateway(settings(host="GPU_1", host_names=["Llm_1", "::1"]), ONE, None)
    assert found.host_names == ("192.0.2.1", "::1", "gpu_1", "llm_1", "localhost")


@pytest.mark.parametrize("capabilities, mebibytes", [(None, 1), (("completion",), 1), (("completion", "vision"), 4)])
@pytest.mark.parametrize("upstream", [{}, {"port": 11480, "key": KEY, "addresses": {"a": "192.0.2.1"}}])
def test_a_request_may_be_larger_where_a_model_takes_images(capabilities, mebibytes, upstream):
    both = facts(endpoint("a", "gpu0", model("x:latest"), model("y:latest", capabilities=capabilities)))
    found = gateway(settings(body_bytes="", upstream=upstream), both, None)
    assert found.limits.body_bytes == mebibytes * 1024 * 1024
    assert gateway(settings(body_bytes=65536, upstream=upstream), both, None).limits.body_bytes == 65536


@pytest.mark.parametrize(
    "given, sent",
    [
        ("https://Chat.Example.org", "https://chat.example.org"),
        ("https://chat.example.org:443", "https://chat.example.org"),
        ("http://chat.example.org:80", "http://chat.example.org"),
        ("http://chat.example.org:443", "http://chat.example.org:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("app://host", "app://host"),
    ],
)
def test_an_origin_is_compared_with_what_browsers_send(given, sent):
    assert gateway(settings(origins=[given]), ONE, None).origins == (sent,)


def test_the_version_is_the_oldest_of_the_hosts():
    both = {
        **facts(endpoint("a", "gpu0", model("x:latest")), version="0.32.15"),
        **facts(endpoint("b", "gpu0", model("x:latest")), version="0.32.9"),
    }
    assert gateway(settings(), both, None).version == "0.32.9"


@pytest.mark.parametrize(
    "change",
    [
        {"address": "1.2.3.4 backup\n"},
        {"listen_address": "x\nbackend evil"},
        {"port": "80 }"},
        {"serves": [{"name": 'x"\nfrontend evil'}]},
        {"instance": None, "serves": []},
    ],
)
def test_what_a_host_says_never_gets_into_a_file_as_it_is(change):
    lying = facts(endpoint("a", "gpu0", model("x:latest")))
    lying["a"]["endpoints"][0].update(change)
    with pytest.raises(GatewayError):
        gateway(settings(), lying, None)


def test_a_host_without_models_is_no_gateway():
    with pytest.raises(GatewayError, match="None of the hosts in ollama_gateway_gpu_hosts has an applied plan"):
        gateway(settings(), {"a": {"ollama_version": "0.32.15", "endpoints": []}}, None)
