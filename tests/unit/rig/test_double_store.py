# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The store of the double: recorded digests of created models, names, text formats of Go, resumed pulls."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pathlib
import threading
import time

import pytest

from tests.rig.models import store as rig_models
from tests.rig.ollama.double import create, generate, gguf, gotext, models, names, pull
from tests.rig.ollama.double.errors import ApiError
from tests.rig.ollama.double.store import LAYER_TYPE, Store
from tests.rig.registry.server import Registry, serve
from tests.rig.waiting import wait_until
from tests.unit.rig import double_content
from tests.unit.rig.adapter_files import write_adapter

ENTRIES = {entry["name"]: entry for entry in double_content.recorded("ollama-0.32.15-api.json")}
BASE = "127.0.0.1:5001/library/tiny:latest"


@pytest.fixture
def seeded(tmp_path):
    """A store with the recorded tiny under its recorded digests.

    The model blob is the tiny of the rig: existing blobs are not hashed.
    """
    store = Store(str(tmp_path / "models"))
    layers = []
    sizes = [line for line in ENTRIES["pull-again"]["response"]["body"] if "digest" in line]
    for kind, line in zip(("model", "template", "system", "license", "params", "config"), sizes):
        data = dict(double_content.TEXTS).get(kind)
        if kind == "model":
            data = double_content.tiny()
        if kind == "config":
            data = b"{}"
        elif kind != "model":
            assert line["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        (tmp_path / "models" / "blobs" / line["digest"].replace(":", "-")).write_bytes(data)
        layers.append({"mediaType": LAYER_TYPE + kind, "digest": line["digest"], "size": line["total"]})
    config = dict(layers.pop(), mediaType=rig_models.CONFIG_TYPE)
    manifest = {"schemaVersion": 2, "mediaType": rig_models.MANIFEST_TYPE, "config": config, "layers": layers}
    store.write(names.parse(BASE), json.dumps(manifest).encode())
    return store


def test_pulled_manifest_keeps_its_bytes(seeded):
    """The digest in /api/tags is that of the registry's bytes."""
    want = next(model for model in ENTRIES["tags"]["response"]["body"]["models"] if model["name"] == BASE)
    found = seeded.load(names.parse(BASE))
    assert (found.digest, found.size) == (want["digest"], want["size"])


def test_an_adapter_is_kept_as_it_is(seeded, tmp_path):
    """server/create.go of 0.32.15: one adapter, whose file stays; another GGUF file becomes one more model layer."""
    path = write_adapter(tmp_path / "a.gguf", "tiny", 8, ("attn_q",))
    digest = seeded.put(pathlib.Path(path).read_bytes())[0]
    request = {"from": BASE, "adapters": {"a.gguf": digest}}
    for _line in create.create(seeded, names.parse("made"), request):
        pass
    layer = seeded.load(names.parse("made")).layers[-1]
    assert layer == {
        "mediaType": LAYER_TYPE + "adapter",
        "digest": digest,
        "size": os.path.getsize(path),
        "from": "a.gguf",
    }
    model = seeded.load(names.parse(BASE)).layers[0]["digest"]
    for _line in create.create(seeded, names.parse("two"), {"from": BASE, "adapters": {"m.gguf": model}}):
        pass
    assert [one["mediaType"] for one in seeded.load(names.parse("two")).layers].count(LAYER_TYPE + "model") == 2
    texts = "sha256:" + hashlib.sha256(dict(double_content.TEXTS)["system"]).hexdigest()
    for adapters, words in (
        ({"a.gguf": digest, "b.gguf": digest}, "only one adapter is currently supported"),
        ({"a.gguf": texts}, "supplied file was not in GGUF format"),
        ({"a": texts}, "unknown type"),
        ({}, "unknown type"),
        ({"a.gguf": "sha256:" + "9" * 64}, "no such file or directory"),
    ):
        with pytest.raises(ApiError, match=words):
            list(create.create(seeded, names.parse("no"), dict(request, adapters=adapters)))


def test_created_manifests_are_the_recorded_ones(seeded):
    """Every recorded create from tiny gives the recorded digest and size: same layers, order and JSON."""
    for name in (
        "create-from",
        "create-from-again-same",
        "create-from-again-param-order",
        "create-nostream",
        "create-num-gpu-string",
        "create-unknown-parameter",
        "create-chain-remove-param",
    ):
        request = ENTRIES[name]["request"]["json"]
        lines = list(create.create(seeded, names.parse(request["model"]), request))
        if request.get("stream", True):
            assert lines == ENTRIES[name]["response"]["body"]
    compared = 0
    for want in ENTRIES["tags-final"]["response"]["body"]["models"]:
        if (
            "127.0.0.1" not in want["name"] and want["name"] != "fromfile:latest"
        ):  # that one's model layer is the recorder's rewritten file
            found = seeded.load(names.parse(want["name"]))
            assert (want["name"], found.digest, found.size) == (want["name"], want["digest"], want["size"])
            compared += 1
    assert compared == 5


def test_a_blob_of_another_user_ends_a_create(seeded, monkeypatch):
    """Ollama sets the times of the layers that a new model keeps (manifest/layer.go), which only the owner may."""
    foreign = seeded.blob_path(seeded.load(names.parse(BASE)).layers[1]["digest"])
    set_times = os.utime

    def utime(path, times):
        if path == foreign:
            raise PermissionError
        set_times(path, times)

    monkeypatch.setattr(os, "utime", utime)
    with pytest.raises(ApiError, match="chtimes %s: operation not permitted" % foreign) as caught:
        list(create.create(seeded, names.parse("new"), {"from": BASE, "parameters": {"num_ctx": 2048}}))
    assert caught.value.status == 500 and seeded.load(names.parse("new")) is None


@pytest.mark.parametrize(
    "text, shortest",
    [
        ("tiny", "tiny:latest"),
        ("llama4:16x17b", "llama4:16x17b"),
        ("me/tiny", "me/tiny:latest"),
        ("http://127.0.0.1:5001/library/tiny:v2", "127.0.0.1:5001/library/tiny:v2"),
        ("registry.ollama.ai/library/tiny", "tiny:latest"),
    ],
)
def test_names(text, shortest):
    """Missing parts are added; lists leave out the default host and namespace."""
    assert names.parse(text).shortest == shortest


@pytest.mark.parametrize("text", ["", "::bad::", "a b", "a b/../c", "../x", "a:{{7*7}}", "x:", "/x", "a\nb", "t" * 81])
def test_bad_names(text):
    """One message, status 400."""
    with pytest.raises(ApiError) as caught:
        names.parse(text)
    assert (caught.value.status, caught.value.text) == (400, "invalid model name")


@pytest.mark.parametrize(
    "value, text",
    [
        (999, "999"),
        (0.1, "0.1"),
        (131072, "131072"),
        (1048576, "1.048576e+06"),
        (1000000, "1e+06"),
        ("</s>", '"</s>"'),
        (True, "true"),
        (-1, "-1"),
        (0.00001, "1e-05"),
    ],
)
def test_parameter_texts(value, text):
    """`%#v` of values that a JSON decoder in Go returns: numbers are float64."""
    assert gotext.sharp(value) == text


@pytest.mark.parametrize("text, seconds", [("5m", 300), ("1h30m", 5400), ("-1s", -1), ("1.5s", 1.5), ("0", 0)])
def test_durations(text, seconds):
    """Go durations."""
    assert gotext.duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5", "5 m", ""])
def test_bad_durations(text):
    """Invalid durations are refused."""
    with pytest.raises(ValueError):
        gotext.duration(text)


def test_header_of_a_large_model(tmp_path):
    """The 202,048 tokens of llama4 are skipped; the 67 GB of the sparse file are not read."""
    rig_models.write_into_store("llama4:16x17b", tmp_path)
    store = Store(str(tmp_path))
    model = models.Model(store, store.load(names.parse("llama4:16x17b")))
    begun = time.process_time()
    shown, shape = model.show(False), model.shape()
    assert time.process_time() - begun < 3
    assert (shape.file_bytes, shape.block_count, shown["model_info"]["llama4.block_count"]) == (67107066464, 48, 48)
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    assert shown["capabilities"] == ["completion", "vision"] and model.projector_bytes() > 1.5 * 2**30


def test_no_gguf(tmp_path):
    """A file that is not a GGUF file."""
    path = tmp_path / "hello"
    path.write_bytes(b"hello")
    with pytest.raises(gguf.NotGguf):
        gguf.read(str(path))


@pytest.fixture
def registry(tmp_path):
    """The registry of the rig: (Registry, name of tiny on it)."""
    found = Registry(double_content.registry_directory(tmp_path / "registry"), ["127.0.0.1"])
    servers = serve(found, ["127.0.0.1"])
    yield found, names.parse("127.0.0.1:%d/library/tiny" % servers[0].server_address[1])
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_cut_download_is_resumed(tmp_path, registry):
    """The connection breaks once: the next request fetches only the rest, and the digest matches."""
    found, name = registry
    found.faults.add({"target": "library/tiny", "fault": "cut", "at": ["data"], "times": 1, "after": 300000})
    store = Store(str(tmp_path / "models"))
    assert list(pull.pull(store, name, True))[-1] == {"status": "success"}
    ranges = [request["range"] for request in found.requests if request["kind"] == "data"]
    assert ranges[0][0] == 0 and ranges[1] == [300000, ranges[0][1]]
    assert not list((tmp_path / "models" / "blobs").glob("*partial*"))


def test_a_left_download_is_taken_up_again(tmp_path, registry):
    """The client disconnects: parts are kept, nothing is listed. The next pull fetches only the rest."""
    found, name = registry
    found.faults.add({"target": "library/tiny", "fault": "slow", "at": ["data"], "rate": 200000})
    store = Store(str(tmp_path / "models"))
    lines = pull.pull(store, name, True)
    for line in lines:
        if line.get("completed", 0) > 0:
            break
    lines.close()
    wait_until(
        lambda: not any(isinstance(one, pull._Download) for one in threading.enumerate()), "the download has ended"
    )
    partial = list((tmp_path / "models" / "blobs").glob("*-partial"))
    assert len(partial) == 1 and store.all() == []
    found.faults.clear()
    found.requests.clear()
    assert list(pull.pull(store, name, True))[-1] == {"status": "success"}
    first = next(request for request in found.requests if request["kind"] == "data")
    assert first["range"][0] > 0
    assert (
        store.load(name).digest
        == hashlib.sha256(
            (tmp_path / "registry" / "manifests" / "library" / "tiny" / "latest").read_bytes()
        ).hexdigest()
    )


def test_what_a_failed_attempt_received_counts_only_where_the_line_just_ended(tmp_path, registry, monkeypatch):
    """As downloadChunk of server/download.go: after an error answer, its body is in the file and the record is old."""
    store = Store(str(tmp_path / "models"))
    found, name = registry
    found.faults.add({"target": "library/tiny", "fault": "blob404", "at": ["data"]})
    monkeypatch.setattr(pull, "_TRIES", 1)
    with pytest.raises(ApiError) as caught:
        list(pull.pull(store, name, True))
    assert caught.value.text == "max retries exceeded: EOF"
    blobs = tmp_path / "models" / "blobs"
    (record,) = blobs.glob("*-partial-0")
    assert json.loads(record.read_text())["Completed"] == 0
    assert next(blobs.glob("*-partial")).read_bytes().startswith(b'{"errors"')


def test_a_full_disk_ends_a_pull_at_once_with_the_text_of_go(tmp_path, registry, monkeypatch):
    def full(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pull.os, "pwrite", full)
    with pytest.raises(ApiError) as caught:
        list(pull.pull(Store(str(tmp_path / "models")), registry[1], True))
    assert caught.value.text.endswith("-partial: no space left on device")


def test_a_record_that_was_cut_ends_every_pull(tmp_path, registry):
    store = Store(str(tmp_path / "models"))
    digest = max(rig_models.blobs("tiny"), key=lambda blob: blob.size).digest
    (tmp_path / "models" / "blobs" / ("%s-partial-0" % digest.replace(":", "-"))).write_text("")
    with pytest.raises(ApiError) as caught:
        list(pull.pull(store, registry[1], True))
    assert caught.value.text == "EOF"


def test_a_seeded_blob_is_never_hashed(tmp_path, registry):
    """An existing blob is used with any content."""
    found, name = registry
    store = Store(str(tmp_path / "models"))
    manifest = json.loads((tmp_path / "registry" / "manifests" / "library" / "tiny" / "latest").read_text())
    model = manifest["layers"][0]
    with open(store.blob_path(model["digest"]), "wb") as stream:
        stream.truncate(model["size"])
    assert list(pull.pull(store, name, True))[-1] == {"status": "success"}
    assert not [request for request in found.requests if model["digest"] in request["path"]]


def test_a_null_takes_away_a_parameter_of_the_base(seeded):
    """api/types.go `Options.FromMap` skips a null; server/create.go `setParameters` keeps it over the base's value."""
    base, name = names.parse("pinned"), names.parse("free")
    list(create.create(seeded, base, {"from": BASE, "parameters": {"main_gpu": 1, "num_ctx": 64}}))
    list(create.create(seeded, name, {"from": "pinned", "parameters": {"main_gpu": None}}))
    model = models.Model(seeded, seeded.load(name))
    assert model.parameters["main_gpu"] is None and model.parameters["num_ctx"] == 64
    assert "main_gpu                       <nil>" in model.parameter_lines().splitlines()
    assert "main_gpu" not in generate.merged_options(model, {}) and generate.merged_options(model, {})["num_ctx"] == 64
