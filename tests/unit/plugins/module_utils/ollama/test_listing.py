# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models a store holds, without a server and without trust in what lies there."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import listing

from tests.unit.plugins.module_utils.ollama.giving import give

TINY = "registry.ollama.ai/library/tiny/latest"

NOTHING = {"models": [], "owned": True, "sentences": [], "leftovers": [], "begun_bytes": 0}


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


@pytest.fixture
def service_user(monkeypatch):
    """The tests' own user is the service user."""
    monkeypatch.setattr(listing, "_service_uid", os.geteuid)


def listed(store, own=False):
    """What a store holds, read in this process."""
    return listing.list_store(str(store), os.geteuid(), own)


def names(store, own=False):
    found = listed(store, own)["models"]
    return None if found is None else [model["name"] for model in found]


def test_complete_models_are_listed_with_digest_and_size(tmp_path):
    digest = put(tmp_path)
    other = put(tmp_path, "example.com/ns/other/1", b"more")
    (tmp_path / "manifests" / "note").write_text("a file in the place of a directory")
    models = [
        {"name": "example.com/ns/other:1", "digest": other, "size_bytes": 4},
        {"name": "tiny:latest", "digest": digest, "size_bytes": 7},
    ]
    for own in (True, False):
        assert listed(tmp_path, own) == dict(NOTHING, models=models)


def test_a_store_that_is_not_there_or_empty_holds_nothing(tmp_path):
    assert listed(tmp_path / "none") == listed(tmp_path) == NOTHING


def test_a_model_without_all_its_bytes_is_left_out(tmp_path):
    put(tmp_path)
    (blob,) = (tmp_path / "blobs").iterdir()
    blob.write_bytes(b"weigh")
    assert names(tmp_path) == []
    blob.unlink()
    assert names(tmp_path) == []
    (tmp_path / "elsewhere").write_bytes(b"weights")
    blob.symlink_to(tmp_path / "elsewhere")
    found = listed(tmp_path)
    assert found["models"] == [] and not found["owned"] and "is a symbolic link" in found["sentences"][0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"layers": 1}', "[" * 100000])
def test_what_is_no_manifest_is_left_out(tmp_path, content):
    put(tmp_path)
    (tmp_path / "manifests" / TINY).with_name("broken").write_text(content)
    for own in (True, False):
        assert names(tmp_path, own) == ["tiny:latest"] and listed(tmp_path, own)["sentences"] == []


@pytest.mark.parametrize("place", ["manifests", "manifests/registry.ollama.ai", "manifests/" + TINY, "blobs"])
@pytest.mark.parametrize("own", [True, False])
def test_no_link_in_a_store_is_followed(tmp_path, place, own):
    other, store = tmp_path / "other", tmp_path / "store"
    put(other)
    put(store)
    path = store / place
    os.rename(path, tmp_path / "moved")
    path.symlink_to(other / place)
    found = listed(store, own)
    (sentence,) = found["sentences"]
    assert not found["models"] and sentence.startswith("%s is a symbolic link, and links in a store" % path)


@pytest.mark.parametrize("own", [True, False])
def test_special_files_are_said_and_hold_nobody(tmp_path, own):
    put(tmp_path)
    pipe = (tmp_path / "manifests" / TINY).with_name("pipe")
    os.mkfifo(pipe)
    os.mkfifo(tmp_path / "blobs" / "pipe")
    found = listed(tmp_path, own)
    assert [model["name"] for model in found["models"]] == ["tiny:latest"]
    assert found["sentences"] == [
        "%s is a FIFO, and a store has only directories and files: remove it" % path
        for path in (tmp_path / "blobs" / "pipe", pipe)
    ]


def test_only_the_store_of_another_ollama_may_be_a_link(tmp_path):
    put(tmp_path / "store")
    (tmp_path / "link").symlink_to("store")
    assert names(tmp_path / "link") == ["tiny:latest"]
    found = listed(tmp_path / "link", own=True)
    assert found["models"] is None and "link is a symbolic link" in found["sentences"][0]


def test_in_the_store_of_an_instance_everything_belongs_to_the_service_user(tmp_path):
    put(tmp_path)
    found = listing.list_store(str(tmp_path), 4321, own=True)
    assert found["models"] is None and not found["owned"]
    assert "%s/blobs belongs to " % tmp_path in found["sentences"][1]
    assert "not to ollama: look at it, then remove it or give it to ollama with chown -h" in found["sentences"][0]
    elsewhere = listing.list_store(str(tmp_path), 4321)
    assert [model["name"] for model in elsewhere["models"]] == ["tiny:latest"]
    assert not elsewhere["owned"] and elsewhere["sentences"] == [], "it is copied from there"
    nobody = listing.list_store(str(tmp_path), None, own=True)
    assert "belongs to" in nobody["sentences"][0]


def test_a_blob_of_another_user_in_the_store_of_an_instance(place, nobody):
    put(place / "gpu0")
    put(place / "gpu0", "example.com/ns/other/1", b"more")
    give(place / "gpu0", nobody)
    assert names(place / "gpu0", True) is None, "this process is not its user"
    blob = next((place / "gpu0" / "blobs").iterdir())
    os.chown(blob, 0, 0)
    found = listing.list_store(str(place / "gpu0"), nobody.uid, own=True)
    assert len(found["models"]) == 1 and found["sentences"] == [
        "%s belongs to root and not to ollama: look at it, then remove it or give it to ollama with chown -h ollama %s"
        % (blob, blob)
    ]


def test_what_is_read_and_told_is_bounded(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setattr(listing, "MAX_ENTRIES", 4)
    assert names(tmp_path) is None and "entries" in listed(tmp_path)["sentences"][0]
    monkeypatch.setattr(listing, "MAX_ENTRIES", 5)
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(listing, "MAX_TOTAL_BYTES", 20)
    assert names(tmp_path) is None and "bytes" in listed(tmp_path)["sentences"][0]
    monkeypatch.undo()
    for number in range(20):
        os.mkfifo(tmp_path / "blobs" / str(number))
    assert len(listed(tmp_path)["sentences"]) == 5


def test_stores_are_listed_by_path(tmp_path, service_user):
    digest = put(tmp_path / "models" / "instances" / "gpu0")
    (tmp_path / "models" / "instances" / "gpu1").symlink_to("gpu0")
    own, link = str(tmp_path / "models/instances/gpu0"), str(tmp_path / "models/instances/gpu1")
    found = listing.list_stores([own + "/", "/proc/none", own, link], str(tmp_path / "models"))
    assert found == {
        own: {
            "same_file_system": True,
            "models": [{"name": "tiny:latest", "digest": digest, "size_bytes": 7}],
            "owned": True,
            "problems": [],
            "notes": [],
            "leftovers": [],
            "begun_bytes": 0,
        },
        "/proc/none": dict(found[own], same_file_system=False, models=[]),
        link: dict(found[own], models=None, owned=False, problems=found[link]["problems"]),
    }
    assert "gpu1 is a symbolic link" in found[link]["problems"][0]


def test_the_store_of_the_fetch_server_is_one_of_ours_and_says_what_was_begun(tmp_path, service_user):
    fetch = tmp_path / "models" / "fetch"
    put(fetch)
    (fetch / "blobs" / ("sha256-" + "c" * 64 + "-partial")).write_bytes(b"x" * 8192)
    found = listing.list_stores([str(fetch)], str(tmp_path / "models"))[str(fetch)]
    assert [model["name"] for model in found["models"]] == ["tiny:latest"] and found["owned"]
    assert found["begun_bytes"] == 8192 and found["leftovers"] == [], "it is young"


# -- another store is read as the service user -------------------------------------------------------------------------


def elsewhere(path):
    return listing.list_stores([str(path)], "/proc/models")[str(path)]


def test_another_store_is_read_where_the_service_user_cannot_go(place, nobody):
    (place / "root").mkdir(mode=0o700)
    put(place / "root" / "models")
    found = elsewhere(place / "root" / "models")
    assert [model["name"] for model in found["models"]] == ["tiny:latest"]
    assert not found["owned"] and found["notes"] == [] == found["problems"]


@pytest.mark.parametrize("closed", ["blobs", "manifests", "blobs/blob", "manifests/" + TINY])
def test_what_the_service_user_may_not_read_is_not_listed_and_said(place, nobody, closed):
    put(place / "models")
    (blob,) = (place / "models" / "blobs").iterdir()
    path = blob if closed == "blobs/blob" else place / "models" / closed
    path.chmod(0)
    found = elsewhere(place / "models")
    assert not found["models"] and "may not be read by nobody: allow it with chmod -R o+rX" in found["notes"][0]


def test_a_store_that_holds_its_reader_is_given_up(place, nobody, monkeypatch):
    put(place / "models")
    monkeypatch.setattr(listing, "_SECONDS", 0.1)
    monkeypatch.setattr(listing, "_list_open", lambda *unused: time.sleep(60))
    found = elsewhere(place / "models")
    assert found["models"] is None and "cannot be read within" in found["notes"][0]


def leave(store, digit, suffix="", age=7200, size=3):
    """Put a file among the blobs that no manifest names."""
    path = store / "blobs" / ("sha256-" + digit * 64 + suffix)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path.name


def test_what_no_model_uses_is_left_over_after_an_hour(tmp_path):
    put(tmp_path)
    for path in (tmp_path / "blobs").iterdir():
        os.utime(path, (1, 1))
    old = [leave(tmp_path, "a"), leave(tmp_path, "b", "-partial"), leave(tmp_path, "b", "-partial-12")]
    leave(tmp_path, "c", "-partial", age=3000)
    (tmp_path / "blobs" / "notes.txt").write_text("of a person")
    os.utime(tmp_path / "blobs" / "notes.txt", (1, 1))
    assert listed(tmp_path, own=True)["leftovers"] == [{"name": name, "size_bytes": 3} for name in old]
    assert listed(tmp_path)["leftovers"] == [], "the store of another Ollama is that one's"


@pytest.mark.parametrize("damage", ["{", '{"layers": 7}'])
def test_nothing_is_left_over_where_a_manifest_cannot_be_read(tmp_path, damage):
    put(tmp_path)
    leave(tmp_path, "a")
    (tmp_path / "manifests" / TINY).write_text(damage)
    assert listed(tmp_path, own=True)["leftovers"] == []


def test_a_model_with_a_missing_blob_keeps_its_others(tmp_path):
    put(tmp_path)
    (blob,) = (tmp_path / "blobs").iterdir()
    manifest = tmp_path / "manifests" / TINY
    content = json.loads(manifest.read_text())
    content["layers"].append({"mediaType": "m", "digest": "sha256:" + "9" * 64, "size": 1})
    manifest.write_text(json.dumps(content))
    os.utime(blob, (1, 1))
    found = listed(tmp_path, own=True)
    assert found["models"] == [] and found["leftovers"] == []
