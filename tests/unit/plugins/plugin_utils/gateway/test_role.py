# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role puts on a host."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.filter.gateway_files import gateway_files
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.certificate import certificate
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.role import role_files
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

from tests.unit.plugins.plugin_utils.gateway.builders import KEY, endpoint, facts, model, settings

PEM = "-----BEGIN %s-----\nAAAA\n-----END %s-----\n"
CERTIFICATE, PRIVATE = PEM % ("CERTIFICATE", "CERTIFICATE"), PEM % ("PRIVATE KEY", "PRIVATE KEY")
TEXTS = {
    "lua": "-- lua",
    "unit": "[Unit]",
    "reload": "# reload",
    "address_unit": "[Unit]\n",
    "check": "# check",
    "certificate": "",
    "certificate_key": "",
    "ca": "",
}


def texts_of(*endpoints):
    """{host: the content of its facts file}."""
    return {host: json.dumps(entry) for host, entry in facts(*endpoints).items()}


def haproxy_of(made):
    """The entry of haproxy.cfg, which comes first."""
    assert made["configurations"][0]["path"] == "/etc/ollama-gateway/haproxy.cfg"
    return made["configurations"][0]


ONE = texts_of(endpoint("a", "gpu0", model("x:latest")))


def test_the_configuration_names_files_that_are_put_before_it():
    made = role_files(settings(keys=[{"name": "a", "key": KEY}]), ONE, TEXTS)
    paths = [file["path"] for file in made["files"]]
    text = haproxy_of(made)["content"]
    for stem in ("gateway", "listing", "calls", "models", "keys", "rates", "priorities", "restricted", "allowed"):
        (path,) = [path for path in paths if path.startswith("/etc/ollama-gateway/%s-" % stem)]
        assert path in text
    assert not {file["path"] for file in made["configurations"]} & set(paths)
    (draft,) = [file for file in made["files"] if file["path"] == "/etc/ollama-gateway/draft.cfg"]
    assert draft["content"] == text and KEY not in str(made)


def test_a_file_that_changes_has_another_name():
    names = [
        {file["path"] for file in role_files(settings(), ONE, dict(TEXTS, lua=lua))["files"]}
        for lua in ("-- 1", "-- 2")
    ]
    assert len(names[0] ^ names[1]) == 2


def test_certificates():
    given = dict(TEXTS, certificate=CERTIFICATE, certificate_key=PRIVATE)
    made = role_files(settings(tls="given"), ONE, given)
    (file,) = [file for file in made["files"] if "certificate-" in file["path"]]
    assert file["content"] == CERTIFICATE + PRIVATE and (file["mode"], file["diff"]) == ("0640", False)
    assert "ssl crt %s alpn http/1.1" % file["path"] in haproxy_of(made)["content"]
    assert made["packages"] == ["haproxy"]
    with pytest.raises(GatewayError, match="has no PRIVATE KEY"):
        role_files(settings(tls="given"), ONE, dict(given, certificate_key=CERTIFICATE))
    own = role_files(settings(tls="self_signed"), ONE, TEXTS)
    assert "ssl crt %s alpn" % own["certificate"]["path"] in haproxy_of(own)["content"]
    assert own["packages"] == ["haproxy", "openssl"]


def test_what_is_in_use_is_all_that_the_configuration_names():
    made = role_files(settings(tls="self_signed"), ONE, TEXTS)
    assert made["certificate"]["path"] in made["in_use"] and "/etc/ollama-gateway/keepalived.conf" not in made["in_use"]
    named = set(re.findall(r"/etc/ollama-gateway/[\w.-]+", haproxy_of(made)["content"]))
    assert len(named) > 2 and named <= set(made["in_use"]), named - set(made["in_use"])


def test_a_shared_address_has_a_service_of_its_own():
    given = settings(listen_address="0.0.0.0", acknowledged=["tls"], keys=[{"name": "a", "key": KEY}])
    shared = {"address": "192.0.2.10/24", "interface": "eth0"}
    made = role_files(dict(given, virtual_address=shared, tls="self_signed"), ONE, TEXTS)
    entries = {file["path"]: file for file in made["files"]}
    (check,) = [path for path in entries if "/check_gateway-" in path]
    text = made["configurations"][1]["content"]
    assert 'script "/usr/bin/python3 %s /run/ollama-gateway/admin.sock"' % check in text
    assert entries[check]["content"] == "# check"
    assert entries["/etc/ollama-gateway/draft.conf"]["content"] == text
    assert entries["/etc/systemd/system/ollama-gateway-address.service"]["content"] == "[Unit]\n"
    assert made["shares_address"] is True and made["packages"] == ["haproxy", "openssl", "keepalived"]
    assert made["certificate"]["names"].endswith("IP:192.0.2.1,IP:192.0.2.10")


def test_without_a_shared_address_its_files_are_removed():
    made = role_files(settings(), ONE, TEXTS)
    gone = [file["path"] for file in (*made["files"], *made["configurations"]) if file.get("state") == "absent"]
    assert gone == [
        "/etc/systemd/system/ollama-gateway-address.service",
        "/etc/ollama-gateway/draft.conf",
        "/etc/ollama-gateway/keepalived.conf",
    ]
    assert made["shares_address"] is False and made["packages"] == ["haproxy"]


def test_a_mistake_is_returned_by_the_filter():
    found = gateway_files(settings(tls="sometimes"), ONE, TEXTS)
    assert found == {"problem": "ollama_gateway_tls is 'sometimes'; it may be: self_signed, given, none."}
    assert gateway_files(settings(), ONE, TEXTS)["problem"] is None


def test_a_host_that_cannot_be_reached_keeps_its_servers():
    two = texts_of(endpoint("a", "gpu0", model("x:latest")), endpoint("b", "gpu0", model("x:latest")))
    before = gateway_files(settings(), two, TEXTS)
    (remembered,) = [file for file in before["files"] if file["path"] == "/etc/ollama-gateway/endpoints.json"]
    now = gateway_files(settings(), dict(two, b=""), TEXTS, ["b"], remembered["content"])
    assert now["warnings"] == ["The GPU host b cannot be reached. Its endpoints are those of the run before."]
    assert {**now, "warnings": []} == before


def test_models_of_a_key_that_nobody_serves_are_named():
    """They may be misspelt. It is no mistake: the plan that has them may come later."""
    keys = [{"name": "chat-ui", "key": KEY, "models": ["X", "y:8b", "me/z"]}, {"name": "all", "key": KEY + "0"}]
    keys.append({"name": "batch", "key": KEY + "1", "models": ["xx"]})
    serving = texts_of(endpoint("a", "gpu0", model("x:latest", "chat:latest")))
    made = gateway_files(settings(keys=keys), serving, TEXTS)
    assert made["warnings"] == [
        "The key chat-ui lists y:8b, me/z, which no host serves: correct ollama_gateway_keys, or apply a plan that "
        "serves them. Served are: chat:latest, x:latest.",
        "The key batch lists xx, which no host serves: correct ollama_gateway_keys, or apply a plan that serves it. "
        "Served are: chat:latest, x:latest. The key may use no model now.",
    ]
    assert gateway_files(settings(keys=[{**keys[0], "models": ["x", "Chat"]}]), serving, TEXTS)["warnings"] == []


def test_a_model_that_clients_call_by_another_name_is_served():
    one = texts_of(endpoint("a", "gpu0", model("x:latest-optimized", names=("x:latest",))))
    keys = [{"name": "batch", "key": KEY, "models": ["x:latest-optimized"]}]
    assert gateway_files(settings(keys=keys), one, TEXTS)["warnings"] == []


def test_the_gateways_of_hosts_have_one_server_each():
    two = texts_of(
        endpoint("a", "gpu0", model("x:latest")),
        endpoint("a", "gpu1", model("x:latest", slots=3)),
        endpoint("b", "gpu0", model("x:latest"), address="127.0.0.1"),
    )
    upstream = {"port": 11480, "key": KEY}
    made = role_files(settings(host="c", upstream=upstream), two, dict(TEXTS, ca=CERTIFICATE))
    text = haproxy_of(made)["content"]
    (ca,) = [file["path"] for file in made["files"] if "/gateways-" in file["path"]]
    tls = " ssl verify required ca-file %s verifyhost %%s sni str(%%s) check-sni %%s" % ca
    assert "server a_gateway 192.0.2.1:11480 maxconn 5 weight 100" + tls % ("a", "a", "a") in text
    assert "server b_gateway b:11480 maxconn 2 weight 100" + tls % ("b", "b", "b") in text
    assert text.count('Authorization "Bearer %s"' % KEY) == 2
    with pytest.raises(GatewayError, match="needs key"):
        role_files(settings(host="c", upstream={"port": 1}), two, TEXTS)


@pytest.mark.parametrize("value", ["port=11480 key=" + KEY, [KEY], 1])
def test_what_is_no_dictionary_is_refused_without_the_key(value):
    words = "^ollama_gateway_upstream is no dictionary; give a dictionary such as {port: 11480, key: "
    with pytest.raises(GatewayError, match=words) as failure:
        role_files(settings(upstream=value), ONE, TEXTS)
    assert KEY not in str(failure.value)
    words = "^addresses in ollama_gateway_upstream is no dictionary; give a dictionary such as {gpu1: 192.0.2.1}"
    with pytest.raises(GatewayError, match=words) as failure:
        role_files(settings(upstream={"port": 11480, "key": KEY, "addresses": value}), ONE, TEXTS)
    assert KEY not in str(failure.value)


@pytest.mark.parametrize("value", ["a", "gpu1,gpu2", None, {"a": 1}])
def test_gpu_hosts_are_a_list(value):
    words = "ollama_gateway_gpu_hosts is %r; give a list such as [gpu1, gpu2]." % (value,)
    with pytest.raises(GatewayError, match=re.escape(words)):
        role_files(settings(gpu_hosts=value), ONE, TEXTS)


@pytest.mark.parametrize("value", [None, "", {}])
def test_a_dictionary_may_have_no_value(value):
    assert role_files(settings(upstream=value, virtual_address=value), ONE, TEXTS) == role_files(settings(), ONE, TEXTS)


@pytest.mark.parametrize(
    "host, words",
    [
        ("192.0.2.9", "named by its IP address, .* name in the inventory, with ansible_host: 192.0.2.9"),
        ("2001:db8::9", "named by its IP address"),
        ("gpu 1", "The GPU host 'gpu 1' cannot be named in a certificate: rename it"),
        ("-gpu", "cannot be named in a certificate"),
    ],
)
def test_a_host_of_a_fleet_has_a_name_that_certificates_have(host, words):
    """Without TLS it does not need one."""
    facts, upstream = texts_of(endpoint(host, "gpu0", model("x:latest"))), {"port": 11480, "key": KEY}
    given = settings(host="c", upstream=dict(upstream, addresses={host: "192.0.2.9"}))
    with pytest.raises(GatewayError, match=words):
        role_files(given, facts, dict(TEXTS, ca=CERTIFICATE))
    assert role_files(given, facts, TEXTS)


def test_a_host_with_an_underscore_is_checked_by_the_name_that_its_own_certificate_has():
    facts, upstream = texts_of(endpoint("gpu_1", "gpu0", model("x:latest"))), {"port": 11480, "key": KEY}
    given = settings(host="c", upstream=upstream, gpu_host_addresses={"gpu_1": "192.0.2.1"})
    assert " verifyhost gpu_1 " in haproxy_of(role_files(given, facts, dict(TEXTS, ca=CERTIFICATE)))["content"]
    assert "DNS:gpu_1," in certificate(settings(host="gpu_1", tls="self_signed"), {}, None).names


def test_the_gateway_of_a_host_is_asked_for_each_name_by_itself():
    """It lists an alias while any instance serves it, also one with another model."""
    facts = texts_of(
        endpoint("a", "gpu0", model("x:latest", "chat:latest")), endpoint("a", "gpu1", model("y:1", "chat:latest"))
    )
    upstream = {"port": 11480, "key": KEY}
    text = haproxy_of(role_files(settings(host="c", upstream=upstream), facts, dict(TEXTS, ca=CERTIFICATE)))["content"]
    expected = re.findall(r"^backend (\S+)|expect rstring '\(\?i\)\"name\":\"\((.*)\)\"'", text, re.M)
    found = [one or other for one, other in expected if (one or other) != "rates"]
    assert found == ["model_x:latest", "chat:latest|x:latest", "model_y:1", "y:1"], (
        "chat is x there, by the first instance"
    )


@pytest.mark.parametrize("count, retries", [(1, 6), (2, 6), (4, 18)])
def test_a_request_outlives_all_servers_but_one(count, retries):
    """Each of the others fails twice as many connections as it takes to be out of the rotation."""
    endpoints = [endpoint(host, "gpu0", model("x:latest")) for host in "abcd"[:count]]
    text = haproxy_of(role_files(settings(), texts_of(*endpoints), TEXTS))["content"]
    (backend,) = re.findall(r"^backend model_x:latest\n((?: .*\n)+)", text, re.M)
    assert "    retries %d\n" % retries in backend and "error-limit 3" in backend
