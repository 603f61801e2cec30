# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where a registry may send its readers, and what they take along."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts, redirects
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry, RegistryError

from tests.rig.waiting import AT_ONCE
from tests.unit.plugins.scripted_server import ranges, serving

DIGEST = "sha256:" + "a" * 64
BLOB = "/v2/library/tiny/blobs/" + DIGEST
CONTENT = bytes(range(250)) * 4
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSE", 0)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def internet(monkeypatch):
    """127.0.0.1 is on the internet, everything else is private."""
    monkeypatch.setattr(redirects, "_is_global", lambda ip: str(ip) == "127.0.0.1")


@contextlib.contextmanager
def private_service():
    """(host:port of a listener on 127.0.0.2, [bytes that came])"""
    with socket.socket() as listening:
        listening.bind(("127.0.0.2", 0))
        listening.listen()
        listening.settimeout(0.2)
        came = []
        yield listening.getsockname()[1], came
        with contextlib.suppress(OSError):
            while True:
                connection = listening.accept()[0]
                connection.settimeout(0.2)
                came.append(connection.recv(1000))


def read(server, **options):
    options.setdefault("insecure", True)
    return Registry(parse("tiny"), server.host, timeout=60, **options).blob_range(DIGEST, 0, 1000)


def to(location, status=307):
    return status, b"", {"Location": location}


@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "0x7f000002", "[::ffff:127.0.0.2]", "017700000002"])
def test_a_registry_of_the_internet_sends_nobody_to_a_private_service(internet, host):
    with private_service() as (port, came):
        with serving({("GET", BLOB): to("http://%s:%d/secret" % (host, port))}) as server:
            with pytest.raises(RegistryError, match="redirects to .*127.0.0.2 in a private network") as caught:
                read(server)
    assert caught.value.kind == "answer" and not any(came)


def test_a_name_that_leads_to_a_private_address_is_no_way_either(internet, monkeypatch):
    with private_service() as (port, came):
        with serving({("GET", BLOB): to("http://rebound.invalid:%d/" % port)}) as server:
            real = socket.getaddrinfo
            monkeypatch.setattr(
                socket,
                "getaddrinfo",
                lambda host, *rest, **more: real("127.0.0.2" if host == "rebound.invalid" else host, *rest, **more),
            )
            with pytest.raises(RegistryError, match="in a private network"):
                read(server)
    assert not any(came)


@contextlib.contextmanager
def answering(port, *answers):
    """A service on 127.0.0.2 that gives each connection one answer; yields its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.2", port))
        listening.listen()

        def serve():
            for answer in answers:
                connection = listening.accept()[0]
                connection.recv(10000)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def moving_name(monkeypatch, first, then):
    """registry.invalid has the address `first` once, and `then` from the second look-up on; returns the look-ups."""
    real, asked = socket.getaddrinfo, []

    def moves(host, *rest, **more):
        if host == "registry.invalid":
            asked.append(host)
            host = first if len(asked) == 1 else then
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", moves)
    return asked


def test_a_registry_whose_name_moves_from_a_private_address_to_the_internet_is_not_private(internet, monkeypatch):
    """Its name service could have the first answer come from a private service, and the redirect from elsewhere."""
    asked = moving_name(monkeypatch, "127.0.0.2", "127.0.0.1")
    busy = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with private_service() as (port, came):
        with serving({("GET", BLOB): to("http://127.0.0.2:%d/secret" % port)}) as server:
            registry = Registry(parse("tiny"), "registry.invalid:%d" % server.port, insecure=True, timeout=60)
            with answering(server.port, busy):
                with pytest.raises(RegistryError, match="redirects to 127.0.0.2 in a private network"):
                    registry.blob_range(DIGEST, 0, 1000)
    assert len(asked) == 2 and not any(came)


def test_a_connection_that_is_open_to_a_private_service_is_not_used_then_either(monkeypatch):
    monkeypatch.setattr(redirects, "_is_global", lambda ip: str(ip) == "127.0.0.2")
    moving_name(monkeypatch, "127.0.0.1", "127.0.0.2")
    with serving({("GET", "/cdn"): ranges(CONTENT)}) as private:
        closing = 307, b"", {"Location": private.url + "/cdn", "Connection": "close"}
        moved = "HTTP/1.1 307 x\r\nLocation: %s/cdn\r\nContent-Length: 0\r\n\r\n" % private.url
        with serving({("GET", BLOB): closing}) as server, answering(server.port, moved.encode()):
            registry = Registry(parse("tiny"), "registry.invalid:%d" % server.port, insecure=True, timeout=60)
            assert registry.blob_range(DIGEST, 0, len(CONTENT)) == CONTENT
            with pytest.raises(RegistryError, match="redirects to 127.0.0.1 in a private network"):
                registry.blob_range("sha256:" + "b" * 64, 0, 1000)
        assert len(private.requests) == 1


def test_storage_on_the_internet_leaves_a_private_registry_private(monkeypatch):
    monkeypatch.setattr(redirects, "_is_global", lambda ip: str(ip) == "127.0.0.2")
    part = b"HTTP/1.1 206 x\r\nContent-Length: 4\r\nConnection: close\r\n\r\npart"
    with answering(0, part) as port:
        routes = {("GET", BLOB): to("http://127.0.0.2:%d/cdn" % port)}
        with serving(routes) as server:
            registry = Registry(parse("tiny"), server.host, insecure=True, timeout=60)
            assert registry.blob_range(DIGEST, 0, 4) == b"part"
            other = "sha256:" + "b" * 64
            server.routes["GET", "/v2/library/tiny/blobs/" + other] = to("http://localhost:%d/own" % server.port)
            server.routes["GET", "/own"] = ranges(CONTENT)
            assert registry.blob_range(other, 0, 1000) == CONTENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 200])
def test_a_registry_of_the_internet_has_its_storage_on_another_host(internet, status):
    with serving({("GET", "/cdn"): ranges(CONTENT)}) as storage:
        with serving({("GET", BLOB): to("%s/cdn" % storage.url, status)}) as server:
            assert read(server) == CONTENT


def test_a_private_registry_has_its_storage_anywhere(monkeypatch):
    with serving({("GET", "/cdn"): ranges(CONTENT)}) as storage:
        with serving({("GET", BLOB): to("http://localhost:%d/cdn" % storage.port)}) as server:
            assert read(server) == CONTENT
        monkeypatch.setattr(redirects, "_is_global", lambda ip: False)
        with serving({("GET", BLOB): to("/hop"), ("GET", "/hop"): to("%s/cdn" % storage.url)}) as server:
            assert read(server) == CONTENT


def test_the_body_of_a_redirect_is_not_read():
    def endless(unused, handler):
        handler.wfile.write(b"HTTP/1.1 307 x\r\nLocation: /cdn\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _byte in range(1000):
                handler.wfile.write(b"x")
                time.sleep(0.1)
        handler.close_connection = True

    with serving({("GET", BLOB): endless, ("GET", "/cdn"): ranges(CONTENT)}) as server:
        begin = time.monotonic()
        assert read(server) == CONTENT
        assert time.monotonic() - begin < AT_ONCE


def test_ten_redirects_and_not_one_more():
    routes = {("GET", "/%d" % hop): to("/%d" % (hop + 1)) for hop in range(1, 20)}
    routes["GET", BLOB] = to("/1")
    with serving({**routes, ("GET", "/10"): ranges(CONTENT)}) as server:
        assert read(server) == CONTENT
    with serving(routes) as server:
        with pytest.raises(RegistryError, match="redirects in a circle"):
            read(server)
        assert len(server.requests) == 11


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://h/", "http://[x/"])
def test_an_address_of_another_kind_is_refused(location):
    with serving({("GET", BLOB): to(location)}) as server:
        with pytest.raises(RegistryError, match="neither http nor https"):
            read(server)


def test_no_credentials_of_this_user_are_sent(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving({("GET", "/cdn"): ranges(CONTENT)}) as storage:
        location = "http://user:password@localhost:%d/cdn" % storage.port
        with serving({("GET", BLOB): to(location)}) as server:
            assert read(server) == CONTENT
            for request in server.requests + storage.requests:
                assert "Authorization" not in request.headers


def test_the_proxy_of_the_environment_is_used(monkeypatch):
    with serving({("GET", "http://registry.invalid:80" + BLOB): ranges(CONTENT)}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        registry = Registry(parse("tiny"), "registry.invalid:80", insecure=True, timeout=60)
        proxy.routes["GET", "http://registry.invalid" + BLOB] = ranges(CONTENT)
        assert registry.blob_range(DIGEST, 0, 1000) == CONTENT
        for host in ("127.0.0.1", "2130706433", "localhost", "[::ffff:10.0.0.1]"):
            answer = to("http://%s/secret" % host)
            for base in ("http://registry.invalid:80", "http://registry.invalid"):
                proxy.routes["GET", base + BLOB] = answer
            registry = Registry(parse("tiny"), "registry.invalid:80", insecure=True, timeout=60)
            with pytest.raises(RegistryError, match="in a private network"):
                registry.blob_range(DIGEST, 0, 1000)
            assert not any("secret" in request.path for request in proxy.requests)


def test_a_private_https_mirror_redirects_to_itself_and_to_another_private_host(secure):
    storage = secure({("GET", "/cdn"): ranges(CONTENT)})
    mirror = secure({("GET", "/own"): ranges(CONTENT)})
    for location in ("/own", "https://%s/cdn" % storage.host):
        mirror.routes["GET", BLOB] = to(location)
        assert read(mirror, insecure=False) == CONTENT


def test_https_never_becomes_http(secure):
    with serving({("GET", "/cdn"): ranges(CONTENT)}) as storage:
        for status in (302, 200):
            mirror = secure({("GET", BLOB): to("%s/cdn" % storage.url, status)})
            with pytest.raises(RegistryError, match="redirects to plain http for the blob .* set insecure: true"):
                read(mirror, insecure=False)
        assert not storage.requests


@pytest.mark.parametrize(
    "address, public",
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("10.1.2.3", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:192.168.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
    ],
)
def test_addresses_of_the_internet(address, public):
    assert redirects.is_public(address) is public
