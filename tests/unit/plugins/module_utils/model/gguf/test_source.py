# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError, read_header
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.rig.models import catalog, gguf
from tests.rig.models.store import write_model
from tests.unit.plugins.scripted_server import ranges, recorded, replay, serving

TINY_BYTES = catalog.header_of("tiny")[1]


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def manifest_of(*layers):
    listed = [
        {"mediaType": "application/vnd.ollama.image." + kind, "digest": digest_of(data), "size": size}
        for kind, data, size in layers
    ]
    return json.dumps(
        {"layers": listed, "config": {"mediaType": "c", "digest": "sha256:" + "e" * 64, "size": 500}}
    ).encode()


def routes(raw, **blobs):
    table = {("GET", "/v2/library/m/manifests/latest"): (200, raw)}
    for data in blobs.values():
        table["GET", "/v2/library/m/blobs/" + digest_of(data)] = ranges(data)
    return table


def from_registry(server, cache=None):
    return source.from_registry(Registry(parse("m"), server.host, insecure=True, timeout=60), "m", Cache(cache))


@pytest.fixture(scope="module")
def llama():
    return catalog.header_of("llama3.1:8b")[0]


def test_a_header_of_seven_mib_takes_two_ranges(llama):
    raw = manifest_of(("model", llama, 4920367520), ("template", b"t", 1))
    with serving(routes(raw, model=llama)) as server:
        model, bytes_read = from_registry(server)
        assert [request.headers.get("Range") for request in server.requests[1:]] == [
            "bytes=0-3999999",
            "bytes=4000000-7999999",
            "bytes=0-499",  # of the configuration, which this registry does not have
        ]
    assert len(llama) <= bytes_read <= 16 * 1024 * 1024
    assert (model["name"], model["source"], model["digest"]) == ("m:latest", "registry", digest_of(raw))
    assert (model["file_bytes"], model["size_bytes"]) == (4920367520, 4920367520 + 1 + 500)
    assert (model["block_count"], model["vocab_size"], model["architecture"]) == (32, 128256, "llama")
    assert len(model["layers"]) == 32


def test_a_header_longer_than_the_limit_stops_there(monkeypatch, llama):
    monkeypatch.setattr(source, "NETWORK_LIMIT", 1024 * 1024)
    with serving(routes(manifest_of(("model", llama, 4920367520)), model=llama)) as server:
        with pytest.raises(HeaderError, match="m from .* goes on after 1 MiB"):
            from_registry(server)


def test_a_registry_that_serves_something_else_is_named():
    junk = b"<html>login</html>"
    with serving(routes(manifest_of(("model", junk, 10**9)), model=junk)) as server:
        with pytest.raises(HeaderError, match="m from 127.0.0.1:[0-9]*: the file does not begin with GGUF"):
            from_registry(server)


def test_a_manifest_without_a_model_layer_is_refused():
    with serving(routes(manifest_of(("tensor", b"x", 1)))) as server:
        with pytest.raises(source.SourceError, match="no model in the GGUF format"):
            from_registry(server)


def test_a_separate_projector_is_read_too():
    tiny, projector = catalog.header_of("tiny")[0], projector_file()
    size = -(-len(projector) // 32) * 32 + 128
    raw = manifest_of(("model", tiny, TINY_BYTES), ("projector", projector, size))
    with serving(routes(raw, model=tiny, projector=projector)) as server:
        model, unused = from_registry(server)
    assert (model["projector_separate"], model["projector_bytes"], model["file_bytes"]) == (True, 128, TINY_BYTES)
    assert "vision" in model["capabilities"]


def projector_file():
    def text(value):
        return struct.pack("<Q", len(value)) + value

    return (
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 1)
        + text(b"general.architecture")
        + struct.pack("<I", 8)
        + text(b"clip")
        + text(b"v.weight")
        + struct.pack("<IQQIQ", 2, 32, 2, 1, 0)
    )


def test_the_header_is_read_once(tmp_path):
    tiny = catalog.header_of("tiny")[0]
    raw = manifest_of(("model", tiny, TINY_BYTES))
    with serving(routes(raw, model=tiny)) as server:
        first, bytes_first = from_registry(server, str(tmp_path / "cache"))
        second, bytes_second = from_registry(server, str(tmp_path / "cache"))
        assert first == second and bytes_second == len(raw) < bytes_first
        assert len(server.requests) == 4  # two manifests, a header and a configuration
    assert os.stat(str(tmp_path / "cache")).st_mode & 0o777 == 0o700


def test_a_header_that_lied_is_read_again_and_replaced(tmp_path):
    """A lie can keep the extent: here a tensor of the last layer is said to belong to another one."""
    tiny = catalog.header_of("tiny")[0]
    lie = tiny.replace(b"blk.7.attn_q", b"blk.6.attn_z")
    raw = manifest_of(("model", tiny, TINY_BYTES))
    cache = str(tmp_path)
    table = routes(raw, model=tiny)
    table["GET", "/v2/library/m/blobs/" + digest_of(tiny)] = ranges(lie)
    with serving(table) as server:
        lied = from_registry(server, cache)[0]
        server.routes["GET", "/v2/library/m/blobs/" + digest_of(tiny)] = ranges(tiny)
        assert from_registry(server, cache)[0] == lied
        registry = Registry(parse("m"), server.host, insecure=True, timeout=60)
        true = source.from_registry(registry, "m", Cache(cache), refresh=True)[0]
        assert true["headers"] == [
            {"header_bytes": lied["headers"][0]["header_bytes"], "header_sha256": sha256_of_header(tiny)}
        ]
        assert true["layers"][7]["weight_bytes"] > lied["layers"][7]["weight_bytes"]
        assert from_registry(server, cache)[0] == true


def sha256_of_header(data):
    """SHA-256 of a header, without the padding before the tensors."""
    stream = io.BytesIO(data)
    size = read_header(lambda count: stream.read(max(count, 1 << 20))).size_bytes
    return hashlib.sha256(data[:size]).hexdigest()


def test_what_one_registry_serves_says_nothing_about_another(tmp_path):
    tiny = catalog.header_of("tiny")[0]
    table = routes(manifest_of(("model", tiny, TINY_BYTES)), model=tiny)
    blob = "/v2/library/m/blobs/" + digest_of(tiny)
    with serving(table) as one, serving(table) as other:
        from_registry(one, str(tmp_path))
        from_registry(other, str(tmp_path))
        assert ("GET", blob) in other.paths()
    assert Registry(parse("m"), "h", insecure=True).address != Registry(parse("m"), "h", insecure=False).address


@pytest.mark.parametrize("size", [TINY_BYTES - 1, TINY_BYTES * 2, 10**9])
def test_a_header_that_is_not_that_of_a_file_of_this_size_is_not_kept(tmp_path, size):
    tiny = catalog.header_of("tiny")[0]
    with serving(routes(manifest_of(("model", tiny, size)), model=tiny)) as server:
        with pytest.raises(
            HeaderError, match="m from .*: the GGUF header lists 674240 bytes .* that the file has %d" % size
        ):
            from_registry(server, str(tmp_path))
    assert not list(tmp_path.glob("*.json"))


# -- file and store ----------------------------------------------------------------------------------------------------


def test_a_file(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_model("tiny", path)
    model, bytes_read = source.from_file(str(path))
    assert (model["name"], model["source"], model["digest"], model["block_count"]) == ("tiny.gguf", "file", None, 8)
    assert model["size_bytes"] == model["file_bytes"] == os.path.getsize(str(path)) and bytes_read > 0


def without_tensors():
    """A file with keys and no tensors, as a vocabulary alone is kept."""
    head, size = gguf.header(catalog.pairs_of("tiny"), [])
    return head + bytes(size)


def stored(directory, content, size):
    """A store with the model m, whose blob has these bytes; its manifest states the size."""
    store = Store(str(directory))
    raw = manifest_of(("model", content, size))
    for path, data in ((store.blob_path(digest_of(content)), content), (store.manifest_path(parse("m")), raw)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(data)
    return store


def by_source(kind, directory, content, show):
    """Read the model m from a source of a kind that has these bytes; the server says `show` of it."""
    if kind == "file":
        (directory / "m.gguf").write_bytes(content)
        return source.from_file(str(directory / "m.gguf"))
    if kind == "store":
        return source.from_store(stored(directory, content, len(content)), "m")
    if kind == "registry":
        with serving(routes(manifest_of(("model", content, len(content))), model=content)) as server:
            return from_registry(server)
    tags = {"models": [{"name": "m:latest", "digest": "a" * 64, "size": len(content)}]}
    with serving({("GET", "/api/tags"): (200, tags), ("POST", "/api/show"): (200, show)}) as server:
        return source.from_server(OllamaClient(server.url), "m")


@pytest.mark.parametrize("kind", ["file", "store", "registry", "server"])
def test_a_truncated_file_is_refused(tmp_path, kind):
    """As in truncated-file.json: its weights were planned, and llama.cpp does not load it."""
    content = b"".join(catalog.dense_data("tiny"))
    assert by_source(kind, tmp_path, content, show_of("tiny"))[0]["block_count"] == 8
    words = "another header" if kind == "registry" else "bytes, .* fewer than .* cut off, so get it again"
    with pytest.raises(HeaderError, match=words):
        by_source(kind, tmp_path, content[: len(content) // 4], show_of("tiny"))


@pytest.mark.parametrize("kind", ["file", "store", "registry", "server"])
def test_a_file_without_tensors_is_refused(tmp_path, kind):
    with pytest.raises(HeaderError, match="has no tensors, so there is no model to load"):
        by_source(kind, tmp_path, without_tensors(), show_of("tiny", tensors=[]))


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(source.SourceError, match="No such file"):
        source.from_file(str(tmp_path / "none"))
    (tmp_path / "text").write_text("hello there")
    with pytest.raises(HeaderError, match="text: the file does not begin with GGUF"):
        source.from_file(str(tmp_path / "text"))


def test_a_header_of_twelve_mb_moves_less_than_twelve_mib():
    header = catalog.header_of("llama4:16x17b")[0]
    content = header + bytes(1 << 20)
    with serving(routes(manifest_of(("model", content, 67107066464)), model=content)) as server:
        begin = time.process_time()
        model, bytes_read = from_registry(server)
        assert time.process_time() - begin < 0.6  # of which the server's own part is the larger
    assert model["block_count"] == 48 and len(header) <= bytes_read <= 12 * 1024 * 1024


def part(number, count, *tensors, total=None):
    """A part of a split model as llama.cpp's gguf-split writes it: the first has the keys, each has its number."""

    def key(name, kind, packing, value):
        return struct.pack("<Q", len(name)) + name + struct.pack("<I" + packing, kind, value)

    def text_key(name, value):
        return struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, len(value)) + value

    keys = [
        key(b"split.no", 2, "H", number),
        key(b"split.count", 2, "H", count),
        key(b"split.tensors.count", 5, "i", len(tensors) if total is None else total),
    ]
    if number == 0:
        keys += [text_key(b"general.architecture", b"llama"), key(b"llama.block_count", 4, "I", 2)]
    infos = [struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, 32, rows, 1, 0) for name, rows in tensors]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys)) + b"".join(keys) + b"".join(infos)
    return head + bytes(-len(head) % 32 + sum(32 * rows * 2 for _name, rows in tensors))


FIRST, SECOND = (b"blk.0.attn_k.weight", 4), (b"blk.1.attn_k.weight", 8)


def split_file(directory, *parts):
    for number, data in enumerate(parts):
        (directory / ("m-%05d-of-%05d.gguf" % (number + 1, len(parts)))).write_bytes(data)
    return str(directory / ("m-00001-of-%05d.gguf" % len(parts)))


def test_all_parts_of_a_split_file_are_read(tmp_path):
    path = split_file(tmp_path, part(0, 2, FIRST, total=2), part(1, 2, SECOND, total=2))
    for name in (path, path.replace("m-00001", "m-00002")):
        model, unused = source.from_file(name)
        assert [layer["weight_bytes"] for layer in model["layers"]] == [32 * 4 * 2, 32 * 8 * 2]
        assert (
            model["size_bytes"] == model["file_bytes"] == sum(os.path.getsize(str(item)) for item in tmp_path.iterdir())
        )
        assert model["split_count"] == 2 and model["tensor_count"] == 2
    (tmp_path / "m-00001-of-00002.gguf").unlink()
    with pytest.raises(source.SourceError, match="m-00001-of-00002.gguf of the split model is missing"):
        source.from_file(str(tmp_path / "m-00002-of-00002.gguf"))


@pytest.mark.parametrize(
    "parts, words",
    [
        ((part(0, 2, FIRST, total=2), part(0, 2, FIRST, total=2)), "part 2 of the model says that it is part 1"),
        ((part(0, 3, FIRST, total=2), part(1, 3, SECOND, total=2)), "says that there are 3 parts, but there are 2"),
        ((part(0, 2, FIRST, total=2), part(1, 65535, SECOND)), "says that there are 65535 parts"),
        ((part(0, 2, FIRST, total=2), part(1, 2, FIRST)), "has the tensor 'blk.0.attn_k.weight' twice"),
        ((part(0, 2, FIRST, total=3), part(1, 2, SECOND)), "2 of its 3 tensors"),
    ],
)
def test_parts_that_do_not_belong_together(tmp_path, parts, words):
    with pytest.raises(HeaderError, match=words):
        source.from_file(split_file(tmp_path, *parts))


def test_a_part_alone_and_parts_in_a_circle(tmp_path):
    alone = tmp_path / "model.gguf"
    alone.write_bytes(part(0, 4, FIRST, total=2))
    with pytest.raises(
        HeaderError, match="there are 4 parts, but there are 1; get all parts, named -00001-of-00004.gguf"
    ):
        source.from_file(str(alone))
    path = split_file(tmp_path, part(0, 2, FIRST, total=2), b"")
    second = tmp_path / "m-00002-of-00002.gguf"
    second.unlink()
    second.symlink_to(path)
    with pytest.raises(HeaderError, match="says that it is part 1"):
        source.from_file(path)
    second.unlink()
    second.symlink_to(second)
    with pytest.raises(source.SourceError, match="is missing"):
        source.from_file(path)
    with pytest.raises(source.SourceError, match="no model has more than 256"):
        source.from_file(str(tmp_path / "m-00001-of-99999.gguf"))


def test_what_is_no_file_does_not_make_it_wait(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    for path in (str(tmp_path / "pipe"), str(tmp_path), "/dev/zero"):
        with pytest.raises(source.SourceError, match="is not a regular file"):
            source.from_file(path)


def test_a_store(tmp_path):
    content = b"".join(catalog.dense_data("tiny"))
    store = stored(tmp_path, content, len(content))
    model, unused = source.from_store(store, "m")
    assert (model["name"], model["source"], model["digest"], model["file_bytes"]) == (
        "m:latest",
        "store",
        store.digest(parse("m")),
        TINY_BYTES,
    )
    with pytest.raises(source.SourceError, match="has no model nope:latest"):
        source.from_store(store, "nope")


# -- server ------------------------------------------------------------------------------------------------------------


def show_of(name, **changes):
    """Answer of /api/show for one of the rig's models, made of its real header."""
    stream = io.BytesIO(catalog.header_of(name)[0])
    header = read_header(lambda size: stream.read(max(size, 1 << 20)))
    return dict(
        {
            "model_info": dict(header.keys),
            "capabilities": ["tools", "completion"],
            "tensors": [{"name": item.name, "type": item.type, "shape": item.shape} for item in header.tensors],
        },
        **changes,
    )


TAGS = {"models": [{"name": "tiny:latest", "digest": "a" * 64, "size": 674857}]}


def test_a_server_gives_the_same_facts_as_the_file(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_model("tiny", path)
    expected = source.from_file(str(path))[0]
    with serving({("GET", "/api/tags"): (200, TAGS), ("POST", "/api/show"): (200, show_of("tiny"))}) as server:
        model, bytes_read = source.from_server(OllamaClient(server.url), "TINY")
    different = {key for key in model if model[key] != expected[key]}
    assert different == {"name", "source", "digest", "size_bytes", "file_bytes", "capabilities", "headers"}
    assert (model["digest"], model["size_bytes"], model["capabilities"], bytes_read) == (
        "sha256:" + "a" * 64,
        674857,
        ["completion", "tools"],
        0,
    )


def test_a_list_per_layer_that_was_left_out_is_asked_for():
    short = show_of("tiny")
    short["model_info"]["llama.attention.head_count_kv"] = None
    short["model_info"]["tokenizer.ggml.tokens"] = None
    full = show_of("tiny")
    full["model_info"]["llama.attention.head_count_kv"] = [1, 2, 3, 4, 5, 6, 7, 8]
    with serving({("GET", "/api/tags"): (200, TAGS), ("POST", "/api/show"): [(200, short), (200, full)]}) as server:
        model, unused = source.from_server(OllamaClient(server.url), "tiny")
        assert [request.json["verbose"] for request in server.requests[1:]] == [False, True]
    assert model["head_count_kv"] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_recorded_answer_is_understood():
    show = recorded()["show"]["response"]["body"]
    kept = [item for item in show["tensors"] if isinstance(item, dict)]  # the recording leaves most of them out
    left_out = [{"name": "blk.%d.attn_norm.weight" % index, "type": "F32", "shape": [64]} for index in range(1, 8)]
    show = dict(show, tensors=kept + left_out)
    with serving({("GET", "/api/tags"): replay(recorded()["tags"]), ("POST", "/api/show"): (200, show)}) as server:
        model, unused = source.from_server(OllamaClient(server.url), "127.0.0.1:5001/library/tiny")
        assert len(server.requests) == 2  # vocabularies alone are no reason to ask for everything
    assert (model["architecture"], model["quantization"], model["head_count_kv"], model["key_length"]) == (
        "llama",
        "F16",
        [2] * 8,
        16,
    )
    assert model["parameter_count"] == 330432 and model["vocab_size"] == 269


def test_a_model_that_the_server_does_not_have():
    with serving({("GET", "/api/tags"): (200, TAGS)}) as server:
        with pytest.raises(source.SourceError, match="has no model other:latest"):
            source.from_server(OllamaClient(server.url), "other")
    with serving({("GET", "/api/tags"): (200, TAGS), ("POST", "/api/show"): (200, {"model_info": {}})}) as server:
        with pytest.raises(HeaderError, match="no model_info or tensors"):
            source.from_server(OllamaClient(server.url), "tiny")


def test_a_store_that_is_not_there_is_not_called_one_without_the_model(tmp_path):
    for path, words in (
        (tmp_path / "none", "does not exist; give the models directory"),
        (tmp_path, "has no directory"),
    ):
        with pytest.raises(source.SourceError) as caught:
            source.from_store(Store(str(path)), "m")
        assert words in str(caught.value) and "has no model m" not in str(caught.value)
    (tmp_path / "manifests").mkdir()
    with pytest.raises(source.SourceError, match="has no model registry.ollama.ai/library/m|has no model m"):
        source.from_store(Store(str(tmp_path)), "m")
