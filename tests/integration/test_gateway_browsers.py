# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What web pages may do with a gateway: what a browser asks it before, and what it lets the page see."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.browsers import ALLOWED_HEADERS

from tests.integration.gateway_front import KEYS, Light, facts_of, running, until

CHAT, PAGE, OTHER_PAGE = "/api/chat", "https://chat.example.org", "http://localhost:3000"
ASK = {"model": "tiny:8b", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(name="light", scope="module")
def _light():
    found = Light("one", ["tiny:8b"])
    yield found
    found.kill()


@pytest.fixture(name="front", scope="module")
def _front(light, tmp_path_factory):
    keys = [{"name": "anna", "key": KEYS["anna"]}, {"name": "ben", "key": KEYS["ben"], "rate": 1}]
    given = {"keys": keys, "origins": [PAGE, OTHER_PAGE], "body_bytes": 65536}
    with running(tmp_path_factory.mktemp("browsers"), facts_of([light]), **given) as found:
        yield found


def preflight(front, origin, path=CHAT, method="POST"):
    """What a browser asks before it sends a request; it never sends a key with this."""
    wanted = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return front.ask("OPTIONS", path, key=None, Origin=origin, **wanted)


def allowed(reply):
    """What an answer tells a browser."""
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", [PAGE, OTHER_PAGE])
@pytest.mark.parametrize(
    "method, path",
    [("POST", CHAT), ("POST", "/v1/chat/completions"), ("GET", "/api/tags"), ("GET", "/v1/models/tiny:8b")],
)
def test_a_listed_page_may_ask(front, light, origin, method, path):
    """Without a key. Nothing is said of credentials, so that a browser sends neither cookies nor passwords it knows."""
    before = len(light.seen())
    found = preflight(front, origin, path, method)
    assert (found.status, found.body) == (204, b"")
    assert allowed(found) == {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": ", ".join(ALLOWED_HEADERS),
        "access-control-expose-headers": "Retry-After",
        "access-control-max-age": "600",
    }
    assert found.headers["vary"] == "Origin" and len(light.seen()) == before


@pytest.mark.parametrize(
    "method, path",
    [("POST", "/api/pull"), ("DELETE", "/api/delete"), ("DELETE", CHAT), ("OPTIONS", CHAT), ("POST", "/v1/models/x")],
)
def test_a_listed_page_may_not_ask_for_other_calls(front, method, path):
    found = preflight(front, PAGE, path, method)
    assert (found.status, allowed(found).get("access-control-allow-methods")) == (403, None)
    assert "is not served here" in found.error


def test_a_listed_page_sees_every_answer(front, light):
    """Also refusals, so that it can say what is wrong, and when to ask again."""
    found = {
        200: front.ask("POST", CHAT, ASK, Origin=PAGE),
        401: front.ask("POST", CHAT, ASK, key=None, Origin=PAGE),
        403: front.ask("POST", "/api/pull", ASK, Origin=PAGE),
        404: front.ask("POST", CHAT, {"model": "nope"}, Origin=PAGE),
        400: front.ask("POST", CHAT, b"{", Origin=PAGE),
        413: front.ask("POST", CHAT, b" " * 70000, Origin=PAGE),
        429: [front.ask("POST", CHAT, ASK, key="ben", Origin=PAGE) for unused in "12"][1],
    }
    lists = [
        front.ask("GET", path, Origin=PAGE) for path in ("/api/tags", "/api/ps", "/v1/models", "/api/version", "/")
    ]
    assert {reply.status for reply in lists} == {200}
    light.ask("PUT", "/rig/loaded", [])
    try:
        until(lambda: not front.servers(True))
        found[503] = front.ask("POST", CHAT, ASK, Origin=PAGE)
    finally:
        light.ask("PUT", "/rig/loaded", light.models)
    until(lambda: not front.servers(False))
    assert [reply.status for reply in found.values()] == list(found)
    for reply in (*found.values(), *lists):
        seen = {"access-control-allow-origin": PAGE, "access-control-expose-headers": "Retry-After"}
        assert (allowed(reply), reply.headers["vary"]) == (seen, "Origin"), reply
    assert found[429].headers["retry-after"] == found[503].headers["retry-after"] == "5"
    assert "origin" not in {name for one in light.seen() for name, unused in one["headers"]}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "*",
        "http://chat.example.org",
        "https://chat.example.org:8443",
        "https://chat.example.org.evil.example",
        "https://evil-chat.example.org",
        "https://chat.example.org/",
        "https://chat.example.org https://evil.example",
        "https://chat.example.org, https://evil.example",
        "https://evil.example, https://chat.example.org",
        "https://evil.example\r\nOrigin: https://chat.example.org",
        "https://chat.example.org\r\nOrigin: https://evil.example",
        "http://localhost:3001",
        "http://localhost",
    ],
)
def test_another_page_neither_asks_nor_sees(front, light, origin):
    before = len(light.seen())
    for found in (
        preflight(front, origin),
        front.ask("POST", CHAT, ASK, Origin=origin),
        front.ask("GET", "/api/tags", Origin=origin),
        front.ask("GET", "/", key=None, Origin=origin),
    ):
        assert (found.status, allowed(found)) == (403, {}), found
        assert (found.error, found.headers["vary"]) == ("web pages may not use this server", "Origin")
    assert len(light.seen()) == before


def test_who_is_no_page_gets_no_word_for_one(front):
    """Also as the next request of a connection. A cache must not give a page what was answered without an origin."""
    request = "GET /api/version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", front.port)) as connection:
        lines = ("Origin: %s\r\n" % PAGE, "Connection: close\r\n")
        connection.sendall("".join(request % (KEYS["anna"], line) for line in lines).encode())
        first, second = b"".join(iter(lambda: connection.recv(65536), b"")).lower().split(b"http/1.1 200 ok")[1:]
    assert b"access-control-allow-origin: https://chat.example.org\r\n" in first
    assert b"access-control" not in second and b"vary: origin\r\n" in second


def test_without_a_list_no_page_may_ask(light, tmp_path):
    with running(tmp_path, facts_of([light]), acknowledged=["keys"]) as front:
        for found in (preflight(front, PAGE), front.ask("POST", CHAT, ASK, key=None, Origin=PAGE)):
            assert (found.status, allowed(found)) == (403, {})
        assert "vary" not in front.ask("POST", CHAT, ASK, key=None).headers
