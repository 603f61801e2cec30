# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A registry with a login: Basic and tokens, and where the login goes."""

from __future__ import annotations

import json
import urllib.parse

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.login import Login
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry, RegistryError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry_login import challenges

from tests.unit.plugins.scripted_server import ranges, serving

LOGIN = Login("reader", "MARK")
BASIC = LOGIN.basic()
DIGEST = "sha256:" + "b" * 64
MANIFEST = json.dumps(
    {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": DIGEST, "size": 9}]}
).encode()
PATH = "/v2/library/tiny/manifests/latest"
BLOB = "/v2/library/tiny/blobs/" + DIGEST
ASKS_BASIC = {"WWW-Authenticate": 'Basic realm="mirror, of \\"ours\\""'}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSE", 0)


def of(server, login=LOGIN):
    return Registry(parse("tiny"), server.host, insecure=True, timeout=5, login=login)


def sent(server):
    """(path, Authorization) of each request."""
    return [(request.path.partition("?")[0], request.headers.get("Authorization")) for request in server.requests]


def wants(authorization, answer, challenge):
    """An answer for those who have the header field, and 401 with the challenge for others."""

    def respond(request, _handler):
        if request.headers.get("Authorization") == authorization:
            return answer(request, _handler) if callable(answer) else answer
        return (401, {}, challenge)

    return respond


def test_basic_is_sent_once_it_is_asked_for():
    answers = {("GET", PATH): wants(BASIC, (200, MANIFEST), ASKS_BASIC), ("GET", BLOB): ranges(b"123456789")}
    with serving(answers) as server:
        registry = of(server)
        registry.manifest()
        assert registry.blob_range(DIGEST, 2, 3) == b"345"
        assert sent(server) == [(PATH, None), (PATH, BASIC), (BLOB, BASIC)]


def bearer(server, **parts):
    parts = {"realm": "http://%s/token?x=1" % server.host, "service": "mirror", **parts}
    return {"WWW-Authenticate": "Bearer " + ",".join('%s="%s"' % part for part in parts.items())}


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_token_is_got_with_the_login_and_again_when_it_is_too_old(key):
    with serving({}) as server:
        tokens = iter(["one", "two"])
        server.routes[("GET", "/token")] = lambda *_request: (200, {key: next(tokens)})
        valid = ["one"]

        def answer(request, handler):
            return wants("Bearer " + valid[0], (200, MANIFEST), bearer(server))(request, handler)

        server.routes[("GET", PATH)] = answer
        registry = of(server)
        registry.manifest()
        registry.manifest()
        valid[0] = "two"
        registry.manifest()
        assert [one for one in sent(server) if one[0] == "/token"] == [("/token", BASIC)] * 2
        assert [auth for path, auth in sent(server) if path == PATH] == [None, *["Bearer one"] * 3, "Bearer two"]
        query = next(request.path for request in server.requests if request.path.startswith("/token"))
        assert urllib.parse.parse_qsl(query.partition("?")[2]) == [
            ("x", "1"),
            ("service", "mirror"),
            ("scope", "repository:library/tiny:pull"),
        ]


def test_the_login_goes_to_the_registry_alone():
    with serving({("GET", "/cdn"): ranges(b"123456789")}) as storage:
        there = {"Location": "http://%s/cdn" % storage.host.replace("127.0.0.1", "localhost")}
        with serving({("GET", BLOB): wants(BASIC, (307, b"", there), ASKS_BASIC)}) as server:
            registry = of(server)
            assert registry.blob_range(DIGEST, 0, 2) + registry.blob_range(DIGEST, 2, 2) == b"1234"
            with registry.reader(DIGEST, 4, 9) as read:
                assert read(3) + read(9) == b"56789"
        assert {auth for _path, auth in sent(storage)} == {None} and len(storage.requests) == 3


def test_a_storage_that_asks_for_a_login_gets_none():
    with serving({("GET", "/cdn"): (401, {}, ASKS_BASIC)}) as storage:
        there = {"Location": "http://%s/cdn" % storage.host.replace("127.0.0.1", "localhost")}
        with serving({("GET", BLOB): (307, b"", there)}) as server:
            with pytest.raises(RegistryError, match="to this user"):
                of(server).blob_range(DIGEST, 0, 2)
        assert sent(storage) == [("/cdn", None)]


@pytest.mark.parametrize(
    "answer, words",
    [
        ((401, {}, ASKS_BASIC), "refuses the manifest of .* to this user .401."),
        ((403, {}), "refuses the manifest of .* to this user .403."),
        ((401, {}, {"WWW-Authenticate": 'Negotiate x="y"'}), "a login of the kind 'negotiate'"),
        ((401, {}, {"WWW-Authenticate": 'Bearer realm="file:///etc/x"'}), "for tokens, which is no http address"),
        ((401, {}, {"WWW-Authenticate": 'Bearer realm="http://a:b@x/"'}), "for tokens, which is no http address"),
    ],
)
def test_a_login_that_does_not_help_is_one_sentence(answer, words):
    with serving({("GET", PATH): answer}) as server:
        with pytest.raises(RegistryError, match=words) as caught:
            of(server).manifest()
        assert server.host in str(caught.value) and len(server.requests) <= 2
    assert caught.value.kind == "denied"
    assert "check ollama_multigpu_registry_username and ollama_multigpu_registry_password" in str(caught.value)
    assert "MARK" not in str(caught.value) and BASIC not in str(caught.value)


@pytest.mark.parametrize(
    "answer, words",
    [
        ((401, {}), "gives no token .127.0.0.1 answers 401."),
        ((200, b"no json"), "the answer of 127.0.0.1 is not JSON"),
        ((200, {"token": "two\r\nwords"}), "the answer of 127.0.0.1 has none"),
        ((200, {"token": "x" * 100000}), "is larger than 64 KiB"),
        ((200, {}), "has none"),
    ],
)
def test_a_token_that_is_not_given(answer, words):
    with serving({("GET", "/token"): answer}) as server:
        server.routes[("GET", PATH)] = lambda *_request: (401, {}, bearer(server))
        with pytest.raises(RegistryError, match=words) as caught:
            of(server).manifest()
    assert "check ollama_multigpu_registry_username" in str(caught.value) and "words" not in str(caught.value)


def test_without_a_login_nothing_is_asked_twice():
    with serving({("GET", PATH): (401, {}, ASKS_BASIC)}) as server:
        with pytest.raises(RegistryError, match="or give ollama_multigpu_registry_username"):
            of(server, None).manifest()
        assert sent(server) == [(PATH, None)]


@pytest.mark.parametrize(
    "text, found",
    [
        (None, {}),
        ("Basic", {"basic": {}}),
        ('Basic realm="a, Bearer realm=b"', {"basic": {"realm": "a, Bearer realm=b"}}),
        (
            'Basic realm=x, Bearer Realm="http://r/?a=b",service = "s"',
            {"basic": {"realm": "x"}, "bearer": {"realm": "http://r/?a=b", "service": "s"}},
        ),
    ],
)
def test_challenges_are_read(text, found):
    assert challenges(text) == found
