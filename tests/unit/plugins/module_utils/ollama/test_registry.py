# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import hashlib
import json
import socket
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName, parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry, RegistryError
from requests import exceptions

from tests.unit.plugins.scripted_server import ranges, serving

DIGEST = "sha256:" + "b" * 64
MANIFEST = json.dumps(
    {
        "layers": [
            {"mediaType": "application/vnd.ollama.image.model", "digest": DIGEST, "size": 1000},
            {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "c" * 64, "size": 10},
        ],
        "config": {"mediaType": "x", "digest": "sha256:" + "d" * 64, "size": 5},
    }
).encode()
PATH = "/v2/library/tiny/manifests/latest"
BLOB = "/v2/library/tiny/blobs/" + DIGEST


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSE", 0)


def of(server, **options):
    options.setdefault("insecure", True)
    return Registry(parse("tiny"), server.host, timeout=options.pop("timeout", 60), **options)


def test_the_manifest_is_asked_for_as_ollama_does():
    with serving({("GET", PATH): (200, MANIFEST)}) as server:
        registry = of(server)
        manifest = registry.manifest()
        assert server.requests[0].headers["Accept"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest.digest == "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
    assert manifest.size_bytes() == 1015
    assert registry.bytes_read == len(MANIFEST)


@pytest.mark.parametrize(
    "answer, kind, words",
    [
        ((404, {}), "unknown", "has no model tiny:latest; check the name and the tag"),
        ((401, {}), "denied", "refuses .* needs a login"),
        ((403, {}), "denied", "refuses"),
        ((500, {}), "answer", "answered 500"),
        ((200, b"not json"), "answer", "is not JSON"),
        ((200, {"errors": []}), "answer", "has no layers"),
        ((200, {"layers": [{"digest": "sha256:../../x", "size": 1}]}), "answer", "with the invalid digest"),
        ((200, {"layers": [{"digest": DIGEST, "size": -1}]}), "answer", "without a size"),
        ((307, b"", {"Location": PATH}), "answer", "redirects in a circle"),
    ],
)
def test_a_refusal_is_one_sentence(answer, kind, words):
    with serving({("GET", PATH): answer}) as server:
        with pytest.raises(RegistryError, match=words) as caught:
            of(server).manifest()
    assert caught.value.kind == kind and server.host in str(caught.value) and "\n" not in str(caught.value)


def closed(_request, handler):
    """The connection ends without an answer."""
    handler.close_connection = True


@pytest.mark.parametrize("trouble", [(503, {}), closed])
def test_trouble_that_passes_is_tried_again(trouble):
    with serving({("GET", PATH): [trouble, trouble, (200, MANIFEST)]}) as server:
        assert of(server).manifest().layers[0].digest == DIGEST
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "trouble, words",
    [
        ((503, {}), "answered 503 for the manifest of tiny:latest; try again later"),
        (closed, "the connection was closed without an answer; check the network"),
    ],
)
def test_trouble_that_stays_is_told(trouble, words):
    with serving({("GET", PATH): trouble}) as server:
        with pytest.raises(RegistryError, match=words):
            of(server).manifest()
        assert len(server.requests) == 3


def test_a_connection_that_is_not_made_is_told_as_such(monkeypatch):
    def unmade(*_arguments, **_options):
        raise exceptions.ConnectTimeout("connect timeout=2")

    registry = Registry(parse("tiny"), "registry.example")
    monkeypatch.setattr(registry._session, "get", unmade)
    with pytest.raises(RegistryError, match="cannot reach the registry registry.example .*the connection timed out"):
        registry.manifest()


def test_a_range_follows_the_redirect_once_and_goes_straight_to_the_storage_then():
    content = bytes(range(250)) * 4
    with serving({("GET", "/cdn"): ranges(content)}) as storage:
        with serving({("GET", BLOB): (307, b"", {"Location": "http://localhost:%d/cdn" % storage.port})}) as server:
            registry = of(server)
            assert registry.blob_range(DIGEST, 0, 300) == content[:300]
            assert registry.blob_range(DIGEST, 300, 10) == content[300:310]
            assert registry.blob_range(DIGEST, 990, 100) == content[990:]
            assert registry.blob_range(DIGEST, 1000, 100) == b""
            assert len(server.requests) == 1 and len(storage.requests) == 4
            assert registry.bytes_read == 320


def test_a_registry_that_ignores_ranges_is_read_no_further_than_needed():
    with serving({("GET", BLOB): (200, b"x" * 5000000)}) as server:
        registry = of(server)
        assert registry.blob_range(DIGEST, 10, 5) == b"x" * 5
        assert registry.bytes_read <= 65536


def test_nobody_there_a_stall_and_tls():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(RegistryError, match="connection refused") as caught:
            Registry(parse("tiny"), "127.0.0.1:%d" % taken.getsockname()[1], insecure=True, timeout=2).manifest()
    assert caught.value.kind == "unreachable"
    with serving({("GET", PATH): lambda request, handler: time.sleep(1)}) as server:
        with pytest.raises(RegistryError, match="did not answer within 0 seconds, in 3 attempts, for the manifest"):
            of(server, timeout=0.2).manifest()
    with serving({("GET", PATH): (200, MANIFEST)}) as server:
        with pytest.raises(RegistryError, match="speaks plain http; set insecure: true"):
            of(server, insecure=False).manifest()


def test_the_password_of_a_proxy_is_not_told(monkeypatch):
    monkeypatch.setenv("http_proxy", "socks9://user:MARK@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(RegistryError) as caught:
        Registry(parse("tiny"), "registry.example", insecure=True, timeout=2).manifest()
    assert "MARK" not in str(caught.value)
    assert "MARK" not in str(RegistryError("answer", "no answer from https://host/x?Signature=MARK"))


def test_a_body_that_breaks_off_is_no_manifest():
    def broken(unused, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    with serving({("GET", PATH): broken}) as server:
        with pytest.raises(RegistryError, match="broke in the middle"):
            of(server).manifest()


def test_a_hostile_registry_name_is_refused():
    for host in ("a/b", "h:99999", "h h"):
        with pytest.raises(InvalidName):
            Registry(parse("tiny"), host)
