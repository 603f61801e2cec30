# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import errno
import hashlib
import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import store_writing
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Brought, Store, StoreError

TINY = parse("tiny")


def put(store, name, *contents, shared=b"the model"):
    """Write a model of these layers and return its manifest digest."""
    layers = []
    os.makedirs(os.path.join(store.path, "blobs"), exist_ok=True)
    for content in (shared,) + contents:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        layers.append({"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": len(content)})
        with open(store.blob_path(digest), "wb") as stream:
            stream.write(content)
    raw = json.dumps({"layers": layers}).encode()
    path = store.manifest_path(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(raw)
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def blobs(store):
    return sorted(os.listdir(os.path.join(store.path, "blobs")))


@pytest.fixture
def stores(tmp_path):
    return Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))


def test_an_empty_store_has_nothing(stores):
    assert stores[0].names() == [] and stores[0].manifest(TINY) is None and stores[0].complete(TINY) is None
    assert stores[0].free_bytes() > 0


def test_models_are_listed_and_found_in_any_case(stores):
    store = stores[0]
    put(store, parse("Tiny:V2"), b"a")
    put(store, parse("reg:5000/me/x"), b"b")
    assert [str(name) for name in store.names()] == ["reg:5000/me/x:latest", "Tiny:V2"]
    assert store.complete(parse("tiny:v2")) is not None


def test_a_link_moves_no_byte_and_keeps_the_digest(stores):
    first, second = stores
    digest = put(first, TINY, b"params")
    second.take_from(first, TINY)
    assert second.complete(TINY).digest == digest
    for name in blobs(first):
        assert os.path.samefile(os.path.join(first.path, "blobs", name), os.path.join(second.path, "blobs", name))
    assert not os.path.samefile(first.manifest_path(TINY), second.manifest_path(TINY))
    second.take_from(first, TINY)  # again: nothing to do
    assert blobs(first) == blobs(second)


def test_what_is_removed_in_one_store_stays_in_the_other(stores):
    first, second = stores
    put(first, TINY, b"params")
    second.take_from(first, TINY)
    second.remove(TINY)
    assert blobs(second) == [] and second.names() == []
    assert first.complete(TINY) is not None


def test_a_blob_that_another_model_uses_stays(stores):
    store = stores[0]
    put(store, TINY, b"params")
    put(store, parse("tiny:optimized"), b"other params")
    store.remove(TINY)
    assert store.complete(parse("tiny:optimized")) is not None
    assert len(blobs(store)) == 2


def test_a_truncated_blob_is_replaced_and_a_damaged_source_refused(stores):
    first, second = stores
    put(first, TINY, b"params")
    second.take_from(first, TINY)
    path = os.path.join(second.path, "blobs", blobs(second)[0])
    os.unlink(path)
    with open(path, "wb"):
        pass
    assert second.complete(TINY) is None
    second.take_from(first, TINY)
    assert second.complete(TINY) is not None
    os.unlink(os.path.join(first.path, "blobs", blobs(first)[0]))
    with pytest.raises(StoreError, match="does not have all of tiny:latest"):
        second.take_from(first, TINY)


def test_across_file_systems_bytes_are_copied(stores, monkeypatch):
    first, second = stores
    digest = put(first, TINY, b"params")

    def refuse(*unused, **unused2):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    done = second.take_from(first, TINY)
    assert (done.action, done.copied_bytes, done.linked_bytes) == ("copy", len(b"the model" + b"params"), 0)
    assert second.complete(TINY).digest == digest and blobs(first) == blobs(second)
    assert not os.path.samefile(*(os.path.join(store.path, "blobs", blobs(store)[0]) for store in stores))


def test_how_a_model_would_come_is_told_before(stores):
    first, second = stores
    put(first, TINY, b"params")
    assert second.way_from(first, TINY) == Brought(linked_bytes=15) and not os.path.exists(second.path)
    put(second, parse("other"))
    assert second.way_from(first, TINY) == Brought(linked_bytes=6)


def test_a_symbolic_link_is_not_linked(stores, tmp_path):
    first, second = stores
    put(first, TINY)
    path = os.path.join(first.path, "blobs", blobs(first)[0])
    os.rename(path, str(tmp_path / "elsewhere"))
    os.symlink(str(tmp_path / "elsewhere"), path)
    with pytest.raises(StoreError, match="does not have all"):
        second.take_from(first, TINY)


def test_a_broken_manifest_is_one_sentence(stores):
    put(stores[0], TINY)
    with open(stores[0].manifest_path(TINY), "w") as stream:
        stream.write("{")
    with pytest.raises(StoreError, match="is not JSON; remove it"):
        stores[0].manifest(TINY)


def test_a_run_that_is_killed_before_the_manifest_leaves_no_model(stores, monkeypatch):
    first, second = stores
    put(first, TINY)

    def killed(*unused):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_writing, "write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        second.take_from(first, TINY)
    monkeypatch.undo()
    assert second.names() == [] and not os.path.exists(second.manifest_path(TINY))
    second.take_from(first, TINY)
    assert second.complete(TINY) is not None


def test_a_blob_is_read_through_no_link(stores, tmp_path):
    put(stores[0], TINY)
    layer = stores[0].manifest(TINY).blobs()[0]
    with stores[0].open_blob(layer) as stream:
        assert stream.read() == b"the model" == stores[0].small_blob(layer)
    with pytest.raises(StoreError, match="does not have the blob"):
        stores[1].open_blob(layer)
    os.rename(stores[0].blob_path(layer.digest), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", stores[0].blob_path(layer.digest))
    for read in (stores[0].open_blob, stores[0].small_blob):
        with pytest.raises(StoreError, match="is a symbolic link"):
            read(layer)


def test_a_directory_that_is_no_store_is_told_from_one_without_the_model(tmp_path):
    assert Store(str(tmp_path / "none")).no_store() == "does not exist"
    assert Store(str(tmp_path)).no_store().startswith("has no directory manifests")
    (tmp_path / "manifests").mkdir()
    assert Store(str(tmp_path)).no_store() == ""


def test_blobs_of_another_model_are_taken_without_a_manifest(stores):
    first, second = stores
    put(first, TINY, b"params")
    put(second, parse("other"), b"else", shared=b"another")
    wanted = first.manifest(TINY).blobs() + second.manifest(parse("other")).blobs()
    assert second.take_blobs(first, wanted) == Brought(linked_bytes=15)
    assert second.manifest(TINY) is None and second.missing(first.manifest(TINY)) == []
    assert second.take_blobs(first, wanted) == Brought()


def test_what_a_download_has_begun_is_counted(stores):
    first = stores[0]
    put(first, TINY, b"params")
    layers = first.manifest(TINY).blobs()
    assert first.begun_bytes() == first.begun_bytes(layers) == stores[1].begun_bytes() == 0
    with open(first.blob_path(layers[0].digest) + "-partial", "wb") as stream:
        stream.truncate(2**20)
        stream.write(b"x" * 4096)
    assert first.begun_bytes() == first.begun_bytes(layers) == 4096, "holes take no room"
    assert first.begun_bytes(layers[1:]) == 0


def test_a_model_of_another_server_is_in_nobodys_way(stores):
    store = stores[0]
    put(store, TINY, b"tiny")
    put(store, parse("gpt-oss:120b-cloud"))
    config = {"mediaType": "c", "digest": "sha256:" + hashlib.sha256(b"the model").hexdigest(), "size": 9}
    with open(store.manifest_path(parse("gpt-oss:120b-cloud")), "w", encoding="utf-8") as stream:
        json.dump({"config": config, "layers": None}, stream)
    assert [str(name) for name in store.names()] == ["gpt-oss:120b-cloud", "tiny:latest"]
    store.remove(TINY)
    assert blobs(store) == ["sha256-" + hashlib.sha256(b"the model").hexdigest()]
