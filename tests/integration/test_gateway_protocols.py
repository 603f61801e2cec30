# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Attacks on a gateway below its calls: other protocols, what is left of a refused request, and what costs time.

As in test_gateway_attacks.py, the key may use tiny:8b and nothing else, and what the server behind sees is checked
after each test.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.certificate import certificate

from tests.integration.gateway_front import KEYS, Front, entry, facts_of, raw, running, settings, until
from tests.integration.test_gateway_attacks import GOOD, KEY, send
from tests.integration.test_gateway_attacks import attacked_front as _front  # noqa: F401
from tests.integration.test_gateway_attacks import impatient_front as _impatient  # noqa: F401
from tests.integration.test_gateway_attacks import light_server as _light  # noqa: F401
from tests.integration.test_gateway_attacks import only_what_is_allowed as _check  # noqa: F401
from tests.rig.waiting import PATIENCE

ASK = ("POST /api/generate HTTP/1.1", "Host: localhost", "Authorization: " + KEY)
LIST = ("GET /api/tags HTTP/1.1", "Host: localhost", "Authorization: " + KEY)


# --- other protocols -------------------------------------------------------------------------------


def frames(*headers):
    """A connection of HTTP/2 from its first byte on, with one request without a body (RFC 9113, RFC 7541)."""

    def text(word):
        return bytes([len(word)]) + word.encode()

    block = b"".join(b"\x10" + text(name) + text(value) for name, value in headers)
    head = struct.pack(">I", len(block))[1:] + b"\x01\x05" + struct.pack(">I", 1)
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + head + block


@pytest.mark.parametrize(
    "pseudo",
    [
        {":method": "GET", ":path": "/api/tags"},
        {":method": "DELETE", ":path": "/api/delete"},
        {":method": "POST", ":path": "//api/delete"},
        {":method": "GET", ":path": "/api/tags HTTP/1.1\r\nX: y"},
        {":method": "GET\r\nX: y", ":path": "/api/tags"},
        {":method": "GET", ":path": "/api/tags", ":authority": "evil.example"},
        {":method": "CONNECT", ":authority": "localhost:11434"},
        {":method": "GET", ":path": "*"},
    ],
)
def test_http_2_that_nobody_offered(front, light, pseudo):
    """HAProxy takes it up where a client begins with it. Nothing comes through."""
    before = len(light.seen())
    given = {":scheme": "http", ":authority": "localhost", **pseudo}
    data = frames(*given.items(), ("host", "localhost"), ("authorization", KEY))
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"models"' not in answer
    assert len(light.seen()) == before


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/tags\r\n\r\n",
        b"GET /api/tags HTTP/1.0\r\nAuthorization: %s\r\n\r\n" % KEY.encode(),
        b"PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\nGET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n\r\n PROXY UNKNOWN\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    ],
)
def test_what_is_not_http_1_1(front, data):
    assert raw(front.port, data).status in (0, 400)


def test_a_connection_is_not_given_to_another_protocol(front):
    websocket = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    for lines in ((*ASK, "Content-Length: %d" % len(GOOD), "Upgrade: x", "Connection: Upgrade"), (*LIST, *websocket)):
        data = "\r\n".join((*lines, "", "")).encode() + GOOD
        with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b" 101 " not in answer.partition(b"\r\n")[0]


# --- what is left over -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines, status",
    [
        (("POST /api/generate HTTP/1.1", "Host: localhost"), 401),
        (("POST /api/delete HTTP/1.1", "Host: localhost", "Authorization: " + KEY), 403),
        ((*ASK, "Origin: https://evil.example"), 403),
        ((*ASK, "Content-Encoding: gzip"), 415),
    ],
)
def test_the_body_of_a_refused_request_is_no_request(front, lines, status):
    """Else what one client of a proxy sends would be answered to the next one."""
    inner = "\r\n".join((*LIST, "", "")).encode()
    last = "\r\n".join(("HEAD /api/version HTTP/1.1", *LIST[1:], "Connection: close", "", "")).encode()
    head = "\r\n".join((*lines, "Content-Length: %d" % len(inner), "", "")).encode()
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
        connection.sendall(head + inner + last)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 %d " % status)
    assert b'"models"' not in answers and answers.count(b"HTTP/1.1 ") <= 2


def test_a_body_that_is_announced_and_never_sent(impatient):
    found = send(impatient, *ASK, "Expect: 100-continue", "Content-Length: 100")
    assert found.status in (100, 408) and b"HTTP/1.1 200" not in found.body


def test_what_comes_with_chunks_ends_here(front, light):
    """Extensions of chunks, and headers after the body."""
    body = b'%x;x="y";model=llama3\r\n%s\r\n0\r\n' % (len(GOOD), GOOD)
    body += b"X-Evil: 1\r\nHost: evil.example\r\nAuthorization: Bearer x\r\nContent-Length: 5\r\n\r\n"
    assert send(front, *ASK, "Transfer-Encoding: chunked", body=body).status in (200, 400)
    assert "evil" not in json.dumps(light.seen()[-1:])


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "Bearer x, " + KEY,
        KEY + "\0",
        KEY + "\0x",
        "Bearer\t" + KEY[7:],
        "Digest username=ben, response=" + KEY[7:],
        "Bearer %s" % ("x" * 60000),
        "Basic " + "=" * 1000,
        "Basic %s" % "YmVuAA==",
    ],
)
def test_other_forms_of_a_key(front, given):
    assert send(front, *LIST[:2], "Authorization: " + given).status in (400, 401)


def test_models_of_another_key_are_not_told(front):
    for path in ("/v1/models/llama3", "/v1/models/llama3:latest", "/v1/models/LLAMA3", "/v1/models/library%2fllama3"):
        assert front.ask("GET", path, key="ben").status in (403, 404), path
    text = b"".join(front.ask("GET", path, key="ben").body for path in ("/api/tags", "/api/ps", "/v1/models"))
    assert b"tiny:8b" in text and b"llama3" not in text


@pytest.mark.parametrize(
    "path", ["/haproxy?stats", "/metrics", "/rig/seen", "/debug/pprof/", "/api/tags/../../metrics"]
)
def test_pages_of_the_gateway_and_its_servers(front, path):
    assert front.ask("GET", path, key="anna").status in (400, 403)


def test_a_client_does_not_say_who_it_is(front):
    given = {"X_Forwarded_For": "192.0.2.99", "Forwarded": "for=192.0.2.99", "X_Real_IP": "192.0.2.99"}
    before = len(front.log())
    assert front.ask("GET", "/api/version", key="ben", **given).status == 200
    until(lambda: front.log()[before:])
    assert front.log()[-1]["client"] == "127.0.0.1" and "192.0.2.99" not in front.log_path.read_text(encoding="utf-8")


# --- what costs time -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"tiny:8b","options":{},"options":{"num_ctx":4}}',
        b'{"options":{"num_ctx":4},"options":{},"model":"tiny:8b"}',
        b'{"keep_alive":-1,"model":"tiny:8b","keep_alive":0}',
        b'{"keep_alive":-1e-9,"model":"tiny:8b"}',
        b'{"keep_alive":"-1ns","keep_alive":"0","model":"tiny:8b"}',
    ],
)
def test_what_loads_a_model_anew_among_what_does_not(front, body):
    assert front.ask("POST", "/api/generate", body, key="ben").status == 400


@pytest.mark.parametrize(
    "lines", [["X%d: y" % number for number in range(300)], ["X: " + "y" * 200000], ["X" * 70000 + ": y"]]
)
def test_a_head_that_is_too_long(front, lines):
    assert send(front, *LIST, *lines).status in (0, 400, 431)


@pytest.mark.parametrize("part", [b'"a":1,', b'"a":[],', b'"a":"' + b'\\"' * 40 + b'",', b'"options":{"a":{}},'])
def test_a_body_of_many_values(light, tmp_path, part):
    """Where bodies may be large, reading one takes no more steps than in a small one."""
    most = 4 * 1024 * 1024
    facts = facts_of([light])
    body = b"{" + part * ((most - 100) // len(part)) + b'"model":"tiny:8b"}'
    with running(tmp_path, facts, keys=[{"name": "ben", "key": KEYS["ben"]}], body_bytes=most) as large:
        found = large.ask("POST", "/api/generate", body, key="ben")
        assert (found.status, found.error) == (400, "the body has too many values")


def test_a_reader_that_is_stopped_is_a_failure_of_the_gateway(light, tmp_path):
    """Not of the client, and the model may be served. HAProxy stops no reader here (test_haproxy.py), so a limit of one
    millisecond is set: a reader that takes all its steps always needs more."""
    facts = facts_of([light])
    front = Front(tmp_path)
    front.write(facts, keys=[{"name": "ben", "key": KEYS["ben"]}], body_bytes=4 * 1024 * 1024)
    path = tmp_path / "haproxy.cfg"
    none, short = "tune.lua.session-timeout 0\n", "tune.lua.session-timeout 1\n"
    path.write_text(path.read_text(encoding="utf-8").replace(none, short), encoding="utf-8")
    try:
        found = front.start().ask("POST", "/api/generate", b'{"a":' + b"[" * 1000000, key="ben")
        assert (found.status, found.error) == (500, "the gateway failed to read the body")
        until(lambda: re.search("Lua function 'read_model'.* execution timeout", front.log_path.read_text("utf-8")))
    finally:
        front.stop()


# --- TLS -------------------------------------------------------------------------------------------


def _made(pem, names):
    """Make a certificate for names, with its key in the same file."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=" + names, "-keyout", pem, "-out", pem]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def test_a_fleet_reaches_a_host_with_an_underscore_over_tls(light, tmp_path):
    """With the names of the certificate that the host makes. A request may be to such a name as well."""
    pem = tmp_path / "pem"
    _made(pem, certificate(settings(host="gpu_1", tls="self_signed"), {}, None).names)
    facts = {"gpu_1": {"ollama_version": "0.32.15", "endpoints": [entry(light, "gpu0")]}}
    keys = [{"name": "ben", "key": KEYS["ben"]}]
    places = [tmp_path / name for name in ("host", "fleet")]
    for place in places:
        place.mkdir()
    with running(places[0], facts, certificate=str(pem), host="gpu_1", keys=keys) as front:
        upstream = {"port": front.port, "key": KEYS["ben"], "addresses": {"gpu_1": "127.0.0.1"}, "ca_file": str(pem)}
        with running(places[1], facts, host="front_1", keys=keys, upstream=upstream) as fleet:
            assert fleet.ask("POST", "/api/generate", GOOD, key="ben", Host="Front_1").status == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_and_none(light, tmp_path):
    pem = tmp_path / "pem"
    _made(pem, "DNS:localhost")
    facts = facts_of([light])
    keys = [{"name": "ben", "key": KEYS["ben"]}]

    def version(least, most):
        context = ssl.create_default_context(cafile=str(pem))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = least, most
        with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
            with context.wrap_socket(connection, server_hostname="localhost") as wrapped:
                return wrapped.version()

    with running(tmp_path, facts, certificate=str(pem), keys=keys) as front:
        assert version(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                version(old, old)
        assert raw(front.port, "\r\n".join((*LIST, "", "")).encode()).status in (0, 400)
