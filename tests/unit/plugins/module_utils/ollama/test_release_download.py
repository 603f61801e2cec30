# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Archives of releases: where they may come from, and that what is kept has the wanted hash."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import bounded, redirects, release_download
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.release_download import Download, DownloadError

from tests.rig.waiting import AT_ONCE
from tests.unit.plugins.scripted_server import serving

NAME = "ollama-linux-amd64.tar.zst"
CONTENT = random.Random(1).randbytes(3 * 1024 * 1024)  # the hash is in names of tests: all workers have the same
HASH = hashlib.sha256(CONTENT).hexdigest()
SUMS = ("%s  ./%s\n%s  ./ollama-linux-arm64.tar.zst\n" % (HASH, NAME, "b" * 64)).encode()


def to(location):
    return 302, b"", {"Location": location}


def get(routes, tmp_path, sha256=HASH):
    path = tmp_path / "archive"
    with serving({("GET", "/" + NAME): routes} if not isinstance(routes, dict) else routes) as server:
        Download(3).archive("%s/%s" % (server.url, NAME), str(path), sha256)
    return path


def test_an_archive_with_the_wanted_hash_is_kept(tmp_path):
    path = get((200, CONTENT), tmp_path)
    assert path.read_bytes() == CONTENT and path.stat().st_mode & 0o777 == 0o600


def test_an_archive_with_another_hash_is_refused_with_both(tmp_path):
    with pytest.raises(DownloadError, match="has the checksum %s, not the checksum %s" % (HASH, "c" * 64)):
        get((200, CONTENT), tmp_path, "c" * 64)


def test_a_file_of_a_killed_run_is_kept_where_it_is_whole_and_replaced_where_not(tmp_path):
    path = tmp_path / "archive"
    path.write_bytes(CONTENT)
    with serving({}) as server:
        Download(3).archive(server.url + "/x", str(path), HASH)
        assert not server.requests
    path.write_bytes(CONTENT[:1000])
    assert get((200, CONTENT), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer, words",
    [
        ((404, b""), "answers with the status 404"),
        ((200, CONTENT, {"Content-Encoding": "gzip"}), "answers with the status 200"),
        (to("file:///etc/shadow"), "redirects to an address that is neither http nor https"),
        (to("/" + NAME), "redirects in a circle"),
    ],
)
def test_no_archive(tmp_path, answer, words):
    with pytest.raises(DownloadError, match=words):
        get(answer, tmp_path)


def test_nobody_listens(tmp_path):
    with serving({}) as server:
        gone = server.url
    with pytest.raises(DownloadError, match="connection refused"):
        Download(3).archive(gone + "/x", str(tmp_path / "archive"), HASH)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(release_download, "PAUSE", 0)


def ranged(sent, most=None):
    """An answer that goes on where it is asked to, with at most so many bytes; `sent` gets the bytes of each."""

    def answer(request, handler):
        asked = request.headers.get("Range", "")
        first = int(asked[len("bytes=") : -1]) if asked else 0
        part = CONTENT[first : first + most if most else None]
        sent.append(len(part))
        lines = [
            "HTTP/1.1 %s" % ("206 Partial Content" if asked else "200 OK"),
            "Content-Length: %d" % (len(CONTENT) - first),
        ]
        lines += ["Content-Range: bytes %d-%d/%d" % (first, len(CONTENT) - 1, len(CONTENT))] if asked else []
        handler.wfile.write("\r\n".join(lines + ["", ""]).encode() + part)
        handler.close_connection = True

    return answer


def test_a_download_goes_on_where_it_broke_off(tmp_path):
    sent = []
    assert get(ranged(sent, 1024 * 1024), tmp_path).read_bytes() == CONTENT
    assert len(sent) >= 3 and sum(sent) <= len(CONTENT) + len(sent) * release_download._CHUNK // 4


def test_a_download_of_a_killed_run_goes_on(tmp_path):
    sent = []
    (tmp_path / "archive").write_bytes(CONTENT[:2000000])
    assert get(ranged(sent), tmp_path).read_bytes() == CONTENT
    assert sent == [len(CONTENT) - 2000000]


def test_what_is_the_beginning_of_another_archive_is_replaced(tmp_path):
    sent = []
    (tmp_path / "archive").write_bytes(b"x" * 2000000)
    assert get(ranged(sent), tmp_path).read_bytes() == CONTENT and len(sent) == 2


def test_an_archive_for_which_there_is_no_room_is_refused_before_its_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(release_download.file_system, "free_bytes", lambda path: 1000)
    with pytest.raises(
        DownloadError, match="needs %d bytes .* where 1000 are free: free %d" % (len(CONTENT), len(CONTENT) - 1000)
    ):
        get((200, CONTENT), tmp_path)
    assert not (tmp_path / "archive").exists()


def test_a_connection_that_ends_early(tmp_path):
    def cut(unused, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        handler.close_connection = True

    with pytest.raises(DownloadError, match="closed in the middle|checksum"):
        get(cut, tmp_path)


def test_more_than_any_archive_has(tmp_path, monkeypatch):
    monkeypatch.setattr(release_download, "MOST_BYTES", 1024 * 1024)
    with pytest.raises(DownloadError, match="is larger than 1 MiB"):
        get((200, CONTENT), tmp_path)


def test_a_drip_of_bytes_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "LEAST_RATE", 1024**4)

    def drip(unused, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _byte in range(500):
                handler.wfile.write(b"x")
                time.sleep(0.2)
        except OSError:
            pass
        handler.close_connection = True

    begin = time.monotonic()
    with serving({("GET", "/x"): drip}) as server, pytest.raises(DownloadError, match="did not end within 3 seconds"):
        Download(1).archive(server.url + "/x", str(tmp_path / "archive"), HASH)
    assert time.monotonic() - begin < AT_ONCE


# --- https -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["archive", "checksum"])
def test_https_never_becomes_http(secure, tmp_path, what):
    """Not even for an archive whose hash is known, and not over two hops."""
    with serving({("GET", "/" + NAME): (200, CONTENT), ("GET", "/sums"): (200, SUMS)}) as plain:
        second = secure(
            {("GET", "/" + NAME): to("%s/%s" % (plain.url, NAME)), ("GET", "/sums"): to(plain.url + "/sums")}
        )
        first = secure({})
        for start in (second, first):
            for path in ("/" + NAME, "/sums"):
                first.routes["GET", path] = to("https://%s%s" % (second.host, path))
            with pytest.raises(DownloadError, match="redirects to plain http"):
                if what == "archive":
                    Download(3).archive("https://%s/%s" % (start.host, NAME), str(tmp_path / "archive"), HASH)
                else:
                    Download(3).checksum("https://%s/sums" % start.host, NAME)
        assert not plain.requests and not (tmp_path / "archive").exists()


def test_https_may_lead_to_https(secure, tmp_path):
    storage = secure({("GET", "/storage"): (200, CONTENT)})
    start = secure({("GET", "/" + NAME): to("https://%s/storage" % storage.host)})
    Download(3).archive("https://%s/%s" % (start.host, NAME), str(tmp_path / "archive"), HASH)
    assert (tmp_path / "archive").read_bytes() == CONTENT


def test_the_internet_leads_to_no_private_service(tmp_path, monkeypatch):
    monkeypatch.setattr(redirects, "_is_global", lambda ip: str(ip) == "127.0.0.1")
    with socket.socket() as listening:
        listening.bind(("127.0.0.2", 0))
        listening.listen()
        with pytest.raises(DownloadError, match="127.0.0.2 in a private network"):
            get(to("http://127.0.0.2:%d/secret" % listening.getsockname()[1]), tmp_path)


# --- sha256sum.txt ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        (SUMS, None),
        (b"%s *%s\r\n" % (HASH.upper().encode(), NAME.encode()), None),
        (b"%s  other-%s\n" % (HASH.encode(), NAME.encode()), "has no checksum of " + NAME),
        (SUMS + b"%s  %s\n" % (b"d" * 64, NAME.encode()), "has more than one checksum"),
        (b"<html>%s</html>" % HASH.encode(), "has no checksum"),
        (b"x" * 100 * 1024, "is larger than 64 KiB"),
    ],
)
def test_the_line_of_the_archive_is_found(text, words):
    with serving({("GET", "/sums"): (200, text)}) as server:
        if words is None:
            assert Download(3).checksum(server.url + "/sums", NAME) == HASH
        else:
            with pytest.raises(DownloadError, match=words):
                Download(3).checksum(server.url + "/sums", NAME)


def test_a_password_goes_to_its_own_host_only_and_is_not_told(tmp_path):
    with serving({("GET", "/cdn"): (404, b"")}) as storage, serving({}) as server:
        server.routes["GET", "/" + NAME] = to("/moved")
        server.routes["GET", "/moved"] = to("http://user:password@localhost:%d/cdn" % storage.port)
        url = "http://us%%40er:MARK@127.0.0.1:%d/%s" % (server.port, NAME)
        with pytest.raises(DownloadError, match="answers with the status 404") as caught:
            Download(3).archive(url, str(tmp_path / "archive"), HASH)
        assert "MARK" not in str(caught.value)
        wanted = "Basic " + base64.b64encode(b"us@er:MARK").decode()
        assert [request.headers.get("Authorization") for request in server.requests] == [wanted, wanted]
        assert [request.headers.get("Authorization") for request in storage.requests] == [None]
