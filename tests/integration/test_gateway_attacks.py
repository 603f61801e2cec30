# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a gateway keeps from Ollama. The key of these tests may use tiny:8b and nothing else, and the server behind the
gateway reads bodies as Ollama does: whatever it sees has to be a call of the list, for tiny:8b."""

from __future__ import annotations

import json
import random
import socket
import time

import pytest

from tests.integration.gateway_front import KEYS, Light, facts_of, raw, running, until
from tests.rig.waiting import PATIENCE

CALLS = {"/api/chat", "/api/generate", "/api/embed", "/api/show", "/v1/chat/completions"}
PASSED = {"accept", "content-length", "content-type", "host", "transfer-encoding", "user-agent"}
KEY = "Bearer " + KEYS["ben"]
GOOD = b'{"model":"tiny:8b","prompt":"x"}'
LIMIT = 65536


@pytest.fixture(name="light", scope="module")
def light_server():
    found = Light("one", ["llama3:latest", "tiny:8b"])
    yield found
    found.kill()


def _attacked(light, place, **given):
    facts = facts_of([light], slots=16)
    keys = [{"name": "ben", "key": KEYS["ben"], "models": ["tiny:8b"]}, {"name": "anna", "key": KEYS["anna"]}]
    return running(place, facts, keys=keys, body_bytes=LIMIT, host_names=["front.example"], **given)


@pytest.fixture(name="front", scope="module")
def attacked_front(light, tmp_path_factory):
    with _attacked(light, tmp_path_factory.mktemp("attacked")) as found:
        yield found


@pytest.fixture(name="impatient", scope="module")
def impatient_front(light, tmp_path_factory):
    """One that does not wait for a request as long as it should: for tests that never send all of it."""
    with _attacked(light, tmp_path_factory.mktemp("impatient"), body_timeout=1) as found:
        yield found


@pytest.fixture(autouse=True)
def only_what_is_allowed(front, light):
    """Fail where the server behind saw a call, a model or a header that the key does not have."""
    before = len(light.seen())
    yield
    for one in light.seen()[before:]:
        assert one["path"] in CALLS and one["method"] == "POST", one
        assert one.get("model", "tiny:8b").lower() in (
            "tiny:8b",
            "library/tiny:8b",
            "registry.ollama.ai/library/tiny:8b",
        ), one
        assert {name for name, unused in one["headers"]} <= PASSED, one
        assert dict(one["headers"])["host"] == "localhost"
    assert front.ask("POST", "/api/generate", GOOD, key="ben").status == 200, "it still serves"


def send(front, *lines, body=b""):
    """Send the lines of a head as they are."""
    head = "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1")
    return raw(front.port, head + body)


# --- calls that change models ----------------------------------------------------------------------

ADMIN = ["/api/create", "/api/pull", "/api/push", "/api/copy", "/api/blobs/sha256:00", "/api/me", "/api/signout"]
SPELLINGS = [
    "//api/delete",
    "/api//delete",
    "/API/DELETE",
    "/Api/Delete",
    "/api/%64elete",
    "/%61pi/delete",
    "/api%2fdelete",
    "/api/delete%00",
    "/api/delete/",
    "/api/delete?x=/api/chat",
    "/api/delete#/api/chat",
    "/api/chat/../delete",
    "/api/chat/%2e%2e/delete",
    "/api/chat/..%2fdelete",
    "/api/chat;/../delete",
    "/api/./delete",
    "/api\\delete",
    "/v1/../api/delete",
    "/v1/models/../../api/delete",
    "/v1/api/delete",
    "/api/v1/chat/completions",
    "/v1/chat",
    "http://localhost/api/delete",
    "http://localhost/api/chat",
    "http://front.example/api/chat",
    "*",
    "api/chat",
    "/api/chat/",
    "/api/Chat",
]


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD", "PUT"])
def test_calls_that_change_models(front, method, path):
    assert front.ask(method, path, GOOD, key="anna").status == 403


@pytest.mark.parametrize("path", SPELLINGS)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_other_spellings_of_a_path(front, method, path):
    assert front.ask(method, path, GOOD, key="anna").status in (400, 403)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "FOO"])
def test_other_methods(front, method):
    assert front.ask(method, "/api/generate", GOOD, key="ben").status in (400, 403)


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Host"])
def test_headers_that_override(front, name):
    assert front.ask("POST", "/api/generate", GOOD, key="ben", **{name: "/api/delete"}).status == 200


# --- requests in requests --------------------------------------------------------------------------

INNER = b"DELETE /api/delete HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)


@pytest.mark.parametrize(
    "lines, body",
    [
        (("Content-Length: 5", "Transfer-Encoding: chunked"), CHUNKED + INNER),
        (("Transfer-Encoding: chunked", "Content-Length: %d" % len(CHUNKED + INNER)), CHUNKED + INNER),
        (("Content-Length: %d" % len(GOOD), "Content-Length: 0"), GOOD + INNER),
        (("Content-Length: %d, 0" % len(GOOD),), GOOD + INNER),
        (("Content-Length: +%d" % len(GOOD),), GOOD + INNER),
        (("Content-Length: -1",), INNER),
        (("Content-Length: 0x20",), GOOD + INNER),
        (("Content-Length:",), INNER),
        (("Transfer-Encoding: xchunked",), CHUNKED + INNER),
        (("Transfer-Encoding: chunked, identity",), CHUNKED + INNER),
        (("Transfer-Encoding: identity", "Content-Length: %d" % len(GOOD)), GOOD + INNER),
        (("Transfer-Encoding:\tchunked",), CHUNKED + INNER),
        (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), CHUNKED + INNER),
        (("Transfer-Encoding : chunked",), CHUNKED + INNER),
        ((" Transfer-Encoding: chunked",), CHUNKED + INNER),
        (("X: y\n Transfer-Encoding: chunked",), CHUNKED + INNER),
        (("X: y\rTransfer-Encoding: chunked",), CHUNKED + INNER),
        (("Transfer-Encoding: chunked",), b"fffffffffffffffff\r\n" + GOOD + INNER),
        (("Transfer-Encoding: chunked",), b"-1\r\n" + GOOD + INNER),
        (("Transfer-Encoding: chunked",), b"0\r\n\r\n" + INNER),
        (("Transfer-Encoding: chunked",), b"1\r\n{" + INNER),
        (("Content-Length: %d" % len(GOOD), "Connection: Content-Length"), GOOD + INNER),
        (("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), INNER),
    ],
)
def test_a_request_within_a_request(front, lines, body):
    head = ("POST /api/generate HTTP/1.1", "Host: localhost", "Authorization: " + KEY, *lines)
    data = "\r\n".join((*head, "", "")).encode("latin-1") + body
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"HTTP/1.1 200" not in answers[20:], "the inner request got no good answer"


def test_the_second_request_of_a_connection_needs_a_key_too(front):
    first = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n"
    second = "GET /api/tags HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
        connection.sendall((first % (KEY, len(GOOD))).encode() + GOOD + second.encode())
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"HTTP/1.1 200" in answers and b"HTTP/1.1 401" in answers


# --- sizes and times -------------------------------------------------------------------------------


def test_an_oversized_body(front, light):
    large = json.dumps({"prompt": "x" * LIMIT, "model": "tiny:8b"}).encode()
    before = len(light.seen())
    found = front.ask("POST", "/api/generate", large, key="ben")
    assert (found.status, found.error) == (413, "the body has more than 65536 bytes")
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    found = send(
        front,
        "POST /api/generate HTTP/1.1",
        "Host: localhost",
        "Authorization: " + KEY,
        "Transfer-Encoding: chunked",
        body=chunks,
    )
    assert found.status in (400, 413)
    assert front.ask("POST", "/api/generate", large, key=None).status == 401
    assert len(light.seen()) == before


def test_a_body_that_hides_its_model_behind_the_buffer(front, light):
    """White space as long as the buffer, and then another object."""
    before = len(light.seen())
    body = GOOD + b" " * (2 * LIMIT) + b'{"model":"llama3"}'
    assert front.ask("POST", "/api/generate", body, key="ben").status == 413
    parts = [GOOD, b" " * LIMIT, b" " * LIMIT, b'{"model":"llama3"}', b""]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    lines = ("POST /api/generate HTTP/1.1", "Host: localhost", "Authorization: " + KEY, "Transfer-Encoding: chunked")
    assert send(front, *lines, body=chunks).status in (400, 413)
    assert len(light.seen()) == before


@pytest.mark.parametrize(
    "data",
    [
        b"POST /api/generate HTTP/1.1\r\nHost: local",
        b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nContent-Length: 100\r\n\r\n{"
        % KEY.encode(),
    ],
)
def test_a_slow_client_is_sent_away(impatient, data):
    begun = time.monotonic()
    assert raw(impatient.port, data).status == 408
    assert time.monotonic() - begun > 0.5, "it had its time"


def test_a_body_of_brackets(front):
    body = b'{"model":"tiny:8b","x":' + b"[" * 65000
    found = front.ask("POST", "/api/generate", body, key="ben")
    assert (found.status, found.error) == (400, "the body is not one whole JSON object")


# --- bodies that two programs read differently -----------------------------------------------------

OTHER = [
    b'{"model":"llama3"}',
    b'{"model":"tiny:8b","model":"llama3"}',
    b'{"model":"llama3","model":"tiny:8b"}',
    b'{"model":"tiny:8b","Model":"llama3"}',
    b'{"MODEL":"llama3"}',
    b'{"Model":"tiny:8b"}',
    b'{"model":"tiny:8b","mod\\u0065l":"llama3"}',
    b'{"mod\\u0065l":"tiny:8b"}',
    b'{"model":"tiny:8b","\xc5\xbfx":1}',
    b'{"model":"tiny:8b","model":null}',
    b'{"model":null,"model":"llama3"}',
    b'{"model":null}',
    b'{"model":["tiny:8b"]}',
    b'{"model":{"model":"tiny:8b"}}',
    b'{"x":{"model":"tiny:8b"}}',
    b'{"x":"\\"model\\":\\"tiny:8b\\""}',
    b'{"model":"tiny:8b"}{"model":"llama3"}',
    b'{"model":"tiny:8b"} x',
    b'{"model":"tiny:8b"',
    b'{"model":"tiny:8b",}',
    b'{"model":"tiny:8b" "model":"llama3"}',
    b'{model:"tiny:8b"}',
    b"{'model':'tiny:8b'}",
    b'[{"model":"tiny:8b"}]',
    b'"tiny:8b"',
    b"",
    b"null",
    b'\xef\xbb\xbf{"model":"tiny:8b"}',
    '{"model":"tiny:8b"}'.encode("utf-16"),
    b'{"model":"tiny:8b\\u0000"}',
    b'{"model":"tiny:8b\x00"}',
    b'{"model":" tiny:8b"}',
    b'{"model":"tiny:8b\\n"}',
    b'{"model":"../tiny:8b"}',
    b'{"model":"tiny:8b:cloud"}',
    b'{"model":"t\xc4\xb1ny:8b"}',
    b'{"model":"tiny:8b","x":"\\u0022,\\u0022model\\u0022:"}]',
    b'{"x":[{]},"model":"tiny:8b"}',
    b'{"x":"\\","model":"llama3","y":"\\","model":"tiny:8b"}',
]
#: Bodies of which some are taken and some refused by Ollama: the model has to be the same.
SAME = [
    b' \r\n\t{ "model" : "tiny:8b" , "x" : [ {"model":"llama3"} , "}" , "\\"" ] } \n',
    b'{"x":{"y":[1,-2.5e+3,true,false,null,"\\\\"]},"model":"tiny:8b"}',
    b'{"model":"library\\/tiny:8b"}',
    b'{"model":"tiny\\u003a8b"}',
    b'{"model":"TINY:8B","modelx":"llama3","xmodel":"llama3"}',
    b'{"model":"tiny:8b","name":"llama3"}',
]


@pytest.mark.parametrize("path", ["/api/generate", "/v1/chat/completions", "/api/show"])
@pytest.mark.parametrize("body", OTHER)
def test_the_model_of_another_key(front, light, path, body):
    before = len(light.seen())
    found = front.ask("POST", path, body, key="ben")
    assert found.status in (400, 403, 404) and found.error
    assert len(light.seen()) == before


@pytest.mark.parametrize("body", SAME)
def test_bodies_that_are_odd_and_clear(front, body):
    assert front.ask("POST", "/api/generate", body, key="ben").status == 200


def test_show_has_two_words_for_the_model(front):
    for body, status in (
        (b'{"name":"tiny:8b"}', 200),
        (b'{"name":"llama3"}', 403),
        (b'{"model":"tiny:8b","name":"llama3"}', 400),
        (b'{"model":"","name":"llama3"}', 400),
        (b'{"Name":"llama3","model":"tiny:8b"}', 400),
    ):
        assert front.ask("POST", "/api/show", body, key="ben").status == status, body


def test_made_up_bodies(front, light):
    """Whatever gets through is for tiny:8b (see the fixture)."""
    dice, before = random.Random(11), len(light.seen())
    names = ['"model"', '"Model"', '"mod\\u0065l"', '"x"', '"name"', '"options"', '"keep_alive"', '"a\\"model"']
    values = [
        '"tiny:8b"',
        '"llama3"',
        "null",
        "1",
        '"\\\\"',
        '"\\""',
        '{"model":"llama3"}',
        '["model",{"a":[]}]',
        "{",
        "]",
    ]
    joints = [",", ",", ",", ", ", " ,", "", ":", "},{", "}"]
    for unused in range(300):
        text = "{"
        for unused_member in range(dice.randint(1, 4)):
            text += dice.choice(names) + ":" + dice.choice(values) + dice.choice(joints)
        front.ask("POST", "/api/generate", (text.rstrip(",") + "}").encode(), key="ben")
    assert len(light.seen()) > before, "some of them are good"


def test_a_compressed_body(front):
    found = front.ask("POST", "/v1/chat/completions", GOOD, key="ben", Content_Encoding="zstd")
    assert (found.status, found.error) == (415, "the body must not be compressed")


@pytest.mark.parametrize(
    "more",
    [
        {"keep_alive": 0},
        {"keep_alive": "5m"},
        {"Keep_Alive": 0},
        {"options": {"num_ctx": 4}},
        {"options": {"NUM_GPU": 0}},
    ]
    + [{"keep_alive": -0.0}, {"options": {"num_cTx": 4}}],
)
def test_a_model_is_not_unloaded_or_loaded_anew(front, light, more):
    before = len(light.seen())
    found = front.ask("POST", "/api/generate", {"model": "tiny:8b", **more}, key="ben")
    assert found.status == 400 and ("load" in found.error)
    assert len(light.seen()) == before


def test_what_loads_nothing_is_taken(front):
    for more in ({"keep_alive": -1}, {"keep_alive": "-1m"}, {"options": {"temperature": 0.1, "stop": ["num_ctx"]}}):
        assert front.ask("POST", "/api/generate", {"model": "tiny:8b", **more}, key="ben").status == 200


# --- keys ------------------------------------------------------------------------------------------


def test_keys_that_are_none(front):
    basic = "Basic YmVuOmEta2V5LW9mLWFubmEtMDEyMzQ1Njc4OQ=="  # ben with the key of anna
    for given in (
        None,
        "Bearer ",
        "Bearer x",
        "Basic eDp5",
        "Basic",
        "Bearer " + KEYS["ben"].upper(),
        basic,
        KEYS["ben"],
    ):
        headers = {"Authorization": given} if given else {}
        assert front.ask("GET", "/api/tags", key=None, **headers).status == 401, given
    lines = ("GET /api/tags HTTP/1.1", "Host: localhost", "Authorization: Bearer x", "Authorization: " + KEY)
    assert send(front, *lines).status == 401


def test_basic_authentication_is_name_and_key(front):
    import base64

    word = base64.b64encode(("ben:" + KEYS["ben"]).encode()).decode()
    assert front.ask("GET", "/api/tags", key=None, Authorization="Basic " + word).status == 200


def test_a_revoked_key(light, tmp_path):
    facts = facts_of([light])
    keys = [{"name": name, "key": key} for name, key in KEYS.items()]
    with running(tmp_path, facts, keys=keys) as found:
        assert found.ask("GET", "/api/tags", key="ben").status == 200
        found.write(facts, keys=keys[:1])
        found.reload()
        assert found.ask("GET", "/api/tags", key="ben").status == 401
        assert found.ask("GET", "/api/tags", key="anna").status == 200


def test_a_key_has_its_rate(light, tmp_path):
    facts = facts_of([light])
    keys = [{"name": "ben", "key": KEYS["ben"], "rate": 2}, {"name": "anna", "key": KEYS["anna"]}]
    with running(tmp_path, facts, keys=keys) as found:
        replies = [found.ask("POST", "/api/generate", GOOD, key="ben") for unused in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 429, 429]
        assert int(replies[2].headers["retry-after"]) > 0
        assert found.ask("POST", "/api/generate", GOOD, key="anna").status == 200


# --- names of hosts, pages, headers ----------------------------------------------------------------


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200),
        ("localhost:1234", 200),
        ("Front.Example", 200),
        ("192.0.2.7:11480", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("front.example.evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("evil.example:localhost", 403),
        ("", 403),
        ("1.2.3.4.evil.example", 403),
    ],
)
def test_a_name_that_was_bound_again(front, host, status):
    assert front.ask("GET", "/api/tags", key="ben", Host=host).status in (status, 400 if status == 403 else status)


def test_requests_without_one_host(front):
    assert send(front, "GET /api/tags HTTP/1.1", "Authorization: " + KEY).status == 400
    two = ("Host: localhost", "Host: evil.example")
    assert send(front, "GET /api/tags HTTP/1.1", *two, "Authorization: " + KEY).status == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", ""])
def test_web_pages(front, origin):
    assert front.ask("POST", "/api/generate", GOOD, key="ben", Origin=origin).status == 403


@pytest.mark.parametrize(
    "name", ["x\\r\\nX-Evil: 1", "x\\u000d\\u000aX-Evil: 1", 'x\\"}', "x%0d%0aX-Evil:1", "x\ty", "x y"]
)
def test_a_model_name_with_a_header_in_it(front, name):
    found = front.ask("POST", "/api/generate", ('{"model":"%s"}' % name).encode(), key="ben")
    assert found.status == 400 and "x-evil" not in found.headers and found.json
    assert front.ask("GET", "/v1/models/" + name.replace(" ", "%20"), key="ben").status in (400, 403, 404)


@pytest.mark.parametrize("end", ["%0a", "%0d%0a", "%00", "%0a%0a", "%22"])
def test_a_model_name_in_a_path_with_a_line_break_at_its_end(front, end):
    """Neither answer nor log has it: both stay JSON."""
    path = "/v1/models/nope" + end
    found = front.ask("GET", path, key="ben")
    assert (found.status, found.error) == (404, "model '' not found; served are: tiny:8b")
    assert until(lambda: [one["model"] for one in front.log() if one["path"] == path]) == ["-"]


def test_the_log_stays_json(front):
    for path in ('/"},{"key":"anna', "/x\\", "/%0a%22", "/\xff"):
        front.ask("GET", path, key="ben", User_Agent='"}\\')
    lines = front.log_path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("{"):
            assert json.loads(line)["key"] in ("-", "ben", "anna")
