# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models a store holds, without a server and without trust in what lies there."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import listing

TINY = "registry.ollama.ai/library/tiny/latest"


def put(store, name=TINY, blob=b"weights"):
    """Put a model of one blob into a store and return the digest of its manifest."""
    digest = hashlib.sha256(blob).hexdigest()
    manifest = {"layers": [{"mediaType": "m", "digest": "sha256:" + digest, "size": len(blob)}]}
    path = store / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (store / "blobs").mkdir(exist_ok=True)
    (store / "blobs" / ("sha256-" + digest)).write_bytes(blob)
    path.write_text(json.dumps(manifest))
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_complete_models_are_listed_with_their_digest(tmp_path):
    digest = put(tmp_path)
    other = put(tmp_path, "example.com/ns/other/1", b"more")
    (tmp_path / "manifests" / "note").write_text("a file in the place of a directory")
    assert listing.list_models(str(tmp_path)) == [
        {"name": "example.com/ns/other:1", "digest": other},
        {"name": "tiny:latest", "digest": digest},
    ]


def test_a_store_that_is_not_there_or_empty_holds_nothing(tmp_path):
    assert listing.list_models(str(tmp_path / "none")) == [] == listing.list_models(str(tmp_path))


def test_a_model_without_all_its_bytes_is_left_out(tmp_path):
    put(tmp_path)
    (blob,) = (tmp_path / "blobs").iterdir()
    blob.write_bytes(b"weigh")
    assert listing.list_models(str(tmp_path)) == []
    blob.unlink()
    assert listing.list_models(str(tmp_path)) == []
    (tmp_path / "elsewhere").write_bytes(b"weights")
    blob.symlink_to(tmp_path / "elsewhere")
    assert listing.list_models(str(tmp_path)) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"layers": 1}', "[" * 100000])
def test_what_is_no_manifest_is_left_out(tmp_path, content):
    put(tmp_path)
    (tmp_path / "manifests" / TINY).with_name("broken").write_text(content)
    assert [model["name"] for model in listing.list_models(str(tmp_path))] == ["tiny:latest"]


@pytest.mark.parametrize("place", ["manifests", "manifests/registry.ollama.ai", "manifests/" + TINY, "blobs"])
def test_no_link_in_a_store_is_followed(tmp_path, place):
    other, store = tmp_path / "other", tmp_path / "store"
    put(other)
    put(store)
    path = store / place
    os.rename(path, tmp_path / "moved")
    path.symlink_to(other / place)
    assert listing.list_models(str(store)) is None


def test_the_store_itself_may_be_a_link(tmp_path):
    put(tmp_path / "store")
    (tmp_path / "link").symlink_to("store")
    assert [model["name"] for model in listing.list_models(str(tmp_path / "link"))] == ["tiny:latest"]


def test_a_fifo_holds_nobody(tmp_path):
    put(tmp_path)
    os.mkfifo((tmp_path / "manifests" / TINY).with_name("fifo"))
    assert [model["name"] for model in listing.list_models(str(tmp_path))] == ["tiny:latest"]


def test_what_is_read_is_bounded(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setattr(listing, "MAX_ENTRIES", 3)
    assert listing.list_models(str(tmp_path)) is None
    monkeypatch.setattr(listing, "MAX_ENTRIES", 4)
    assert len(listing.list_models(str(tmp_path))) == 1
    monkeypatch.setattr(listing, "MAX_TOTAL_BYTES", 20)
    assert listing.list_models(str(tmp_path)) is None


def test_stores_are_listed_by_path(tmp_path):
    digest = put(tmp_path / "models" / "instances" / "gpu0")
    own, models_dir = str(tmp_path / "models/instances/gpu0"), str(tmp_path / "models")
    assert listing.list_stores([own + "/", "/proc/none", own], models_dir) == {
        own: {"same_file_system": True, "models": [{"name": "tiny:latest", "digest": digest}]},
        "/proc/none": {"same_file_system": False, "models": []},
    }
