# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Harmful and misleading registries: the result is a model or a sentence, in bounded memory, time and traffic."""

from __future__ import annotations

import gzip
import json
import struct
import time
import tracemalloc

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts, bounded
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import registry as registry_room
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry, RegistryError

from tests.rig.models import catalog
from tests.rig.waiting import AT_ONCE
from tests.unit.plugins.scripted_server import ranges, serving

MIB = 1024 * 1024
SIZE = 67107066464
DIGEST = "sha256:" + "b" * 64
TINY, TINY_BYTES = catalog.header_of("tiny")
LLAMA, LLAMA_BYTES = catalog.header_of("llama3.1:8b")
BLOB = "/v2/library/m/blobs/" + DIGEST


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSE", 0)


def manifest(*layers):
    listed = [
        {"mediaType": "application/vnd.ollama.image." + kind, "digest": digest, "size": size}
        for kind, digest, size in layers
    ]
    return 200, json.dumps({"layers": listed}).encode()


def outcome(blob, *layers, timeout=60):
    """(model or the error, bytes that came) of a model whose blob is answered by `blob`."""
    routes = {
        ("GET", "/v2/library/m/manifests/latest"): manifest(*(layers or [("model", DIGEST, SIZE)])),
        ("GET", BLOB): blob,
    }
    with serving(routes) as server:
        registry = Registry(parse("m"), server.host, insecure=True, timeout=timeout)
        try:
            found = source.from_registry(registry, "m", Cache())[0]
        except (HeaderError, RegistryError, source.SourceError) as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            found = error
        return found, registry.bytes_read


def whole_file(head):
    """Answer that ignores the range and sends the whole file, the data being zeros."""

    def answer(unused, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(SIZE))
        handler.end_headers()
        try:
            handler.wfile.write(head)
            for dummy in range(SIZE // MIB):
                handler.wfile.write(bytes(MIB))
        except OSError:
            handler.close_connection = True

    return answer


def test_a_server_that_ignores_ranges_does_not_send_67_gb():
    head = catalog.header_of("llama4:16x17b")[0]
    answer = whole_file(head)
    tracemalloc.start()
    model, moved = outcome(answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model["block_count"] == 48
    assert moved < 40 * MIB  # each range from the beginning again: 4, 8, 10 and 12 MB
    assert peak < 48 * MIB, "%.0f MiB" % (peak / MIB)


def with_headers(**headers):
    tiny = TINY
    return lambda request, unused: (
        ranges(tiny)(request, unused) + ({name.replace("_", "-"): value for name, value in headers.items()},)
    )


def crumbs(request):
    """Eight bytes of what was asked for."""
    first = int(request.headers["Range"].partition("=")[2].split("-")[0])
    return TINY[first : first + 8]


@pytest.mark.parametrize(
    "blob, words",
    [
        (with_headers(Content_Range="bytes 10-4000009/%d" % SIZE), "answers with another range"),
        (with_headers(Content_Range="bytes */%d" % SIZE), "answers with another range"),
        (with_headers(Content_Range="lines 0-3"), "answers with another range"),
        (with_headers(Content_Type="multipart/byteranges; boundary=x"), "answers with another range"),
        (with_headers(Content_Range="bytes 0-11199/12345"), "has 12345 bytes, but its manifest says %d," % SIZE),
        ((206, gzip.compress(bytes(20 * MIB)), {"Content-Encoding": "gzip"}), "compresses"),
        ((206, b""), "cut off after 0 bytes"),
        (lambda request, unused: (206, crumbs(request)), "pieces too small"),
        ((302, b"", {"Location": "file:///etc/passwd"}), "neither http nor https"),
        ((302, b"", {"Location": "http://127.0.0.1:1/"}), "connection refused"),
    ],
)
def test_a_wrong_answer_is_a_sentence(blob, words):
    error, moved = outcome(blob)
    assert isinstance(error, Exception) and moved < 9 * MIB
    assert words in str(error)


def test_the_right_range_may_be_said():
    layer = ("model", DIGEST, TINY_BYTES)
    assert outcome(with_headers(Content_Range="bytes 0-11199/%d" % TINY_BYTES), layer)[0]["block_count"] == 8
    assert outcome(with_headers(Content_Range="bytes 0-11199/*"), layer)[0]["block_count"] == 8


def test_redirects_without_end():
    def answer(request, unused):
        return 302, b"", {"Location": request.path + "x"}

    routes = {("GET", BLOB + "x" * count): answer for count in range(100)}
    routes["GET", "/v2/library/m/manifests/latest"] = manifest(("model", DIGEST, SIZE))
    with serving(routes) as server:
        with pytest.raises(RegistryError, match="redirects in a circle"):
            source.from_registry(Registry(parse("m"), server.host, insecure=True, timeout=60), "m", Cache())
        assert len(server.requests) < 40


def test_more_than_asked_for_is_not_read():
    head = LLAMA
    model, moved = outcome(
        lambda request, unused: (206, ranges(head + bytes(4 * MIB))(request, unused)[1] + bytes(MIB)),
        ("model", DIGEST, LLAMA_BYTES),
    )
    assert model["block_count"] == 32 and moved < 9 * MIB


def test_less_than_asked_for_is_read_on():
    head = LLAMA

    def half_of_it(request, unused):
        return 206, ranges(head)(request, unused)[1][:100000]

    assert outcome(half_of_it, ("model", DIGEST, LLAMA_BYTES))[0]["block_count"] == 32


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_drip_is_given_up(monkeypatch, where):
    monkeypatch.setattr(bounded, "LEAST_RATE", 100 * MIB)
    monkeypatch.setattr(bounded, "ATTEMPTS", 0.1)  # 3 seconds for the whole, and 30 without a byte

    def drip(unused, handler):
        begin = b"HTTP/1.1 206 Partial\r\nContent-Length: 4000000\r\n" + (b"\r\n" if where == "body" else b"")
        try:
            handler.wfile.write(begin)
            for dummy in range(1000):
                handler.wfile.write(b"x")
                time.sleep(0.1)
        except OSError:
            pass
        handler.close_connection = True

    begin = time.monotonic()
    error = outcome(drip, timeout=30)[0]
    assert isinstance(error, RegistryError) and "was not done with the blob" in str(error)
    assert time.monotonic() - begin < AT_ONCE


def test_a_vocabulary_without_end_stops_at_the_limit():
    def text(value):
        return struct.pack("<Q", len(value)) + value

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2**40)
    content = head + text(b"token") * (20 * MIB // 13)
    error, moved = outcome(ranges(content))
    assert "goes on after 16 MiB" in str(error) and moved <= 16 * MIB + 1000


def test_many_models_in_a_manifest():
    tiny = TINY
    twice = [("model", DIGEST, TINY_BYTES)] * 2
    assert "lists 2 models, which are not parts of one" in str(outcome(ranges(tiny), *twice)[0])
    for kind in ("model", "adapter"):
        layers = [("model", DIGEST, TINY_BYTES)] + [(kind, DIGEST, TINY_BYTES)] * 300
        error, moved = outcome(ranges(tiny), *layers)
        assert "model files of one kind, but no model has more than 256" in str(error) and moved < 100000
    assert "no model in the GGUF format" in str(outcome(ranges(tiny), ("template", DIGEST, len(tiny)))[0])


def test_a_manifest_that_gives_the_blob_too_little_reads_no_further():
    tiny = TINY
    error, moved = outcome(ranges(tiny), ("model", DIGEST, 500))
    assert "cut off after 500 bytes" in str(error) and moved < 1000


def test_one_deadline_for_the_whole_header(monkeypatch):
    """Every range is in time, but there are very many of them."""
    monkeypatch.setattr(registry_room, "WHOLE_BYTES", 0)

    def slowly(request, _handler):
        time.sleep(0.25)
        return 206, ranges(LLAMA)(request, _handler)[1][:100000]

    begin = time.monotonic()
    error = outcome(slowly, ("model", DIGEST, LLAMA_BYTES), timeout=0.4)[0]
    assert isinstance(error, RegistryError) and "was not done with the blob" in str(error)
    assert time.monotonic() - begin < AT_ONCE
