# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A store is read without trust in what lies there."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import store_directory
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store_directory import OpenStore, StoreError

from tests.unit.plugins.module_utils.ollama.descriptors import open_files
from tests.unit.plugins.module_utils.ollama.test_store import TINY, put

pytestmark = pytest.mark.usefixtures("at_most_a_minute")


@pytest.fixture
def store(tmp_path):
    """A store with a model, and a second one beside it."""
    for name in ("store", "other"):
        put(Store(str(tmp_path / name)), TINY, b"params")
    return Store(str(tmp_path / "store"))


def tell(store):
    """What is read of a model, with the store open."""
    with OpenStore.at(store.path) as opened:
        manifest = opened.manifest(TINY)
        return opened.names(), [opened.has_blob(one.digest, one.size_bytes) for one in manifest.blobs()]


def test_what_a_store_has(store):
    assert tell(store) == ([TINY], [True, True])
    with OpenStore.at(store.path) as opened:
        assert opened.manifest(parse("other")) is None and opened.blob("sha256:" + "0" * 64) is None
        assert opened.read(5, "blobs", "none") is None and opened.read(5, "none", "none") is None
    assert OpenStore.at(store.path + "-not") is None


def test_descriptors_are_closed(store):
    before = open_files()
    tell(store)
    os.unlink(store.manifest_path(TINY))
    os.mkfifo(store.manifest_path(TINY))
    with contextlib.suppress(StoreError), OpenStore.at(store.path) as opened:
        opened.manifest(TINY)
    assert open_files() <= before


@pytest.mark.parametrize(
    "where", ["manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library/tiny/latest"]
)
def test_no_link_among_the_manifests_is_followed(store, tmp_path, where):
    os.rename(os.path.join(store.path, where), tmp_path / "moved")
    os.symlink(tmp_path / "other" / where, os.path.join(store.path, where))
    for read in (lambda: store.manifest(TINY), store.names, lambda: store.complete(TINY)):
        with pytest.raises(StoreError, match="%s is a symbolic link, and links in a store are not followed" % where):
            read()


def test_no_link_to_blobs_is_followed(store, tmp_path):
    manifest = store.manifest(TINY)
    os.rename(store.path + "/blobs", tmp_path / "moved")
    os.symlink(tmp_path / "other" / "blobs", store.path + "/blobs")
    for read in (lambda: store.missing(manifest), lambda: store.small_blob(manifest.blobs()[0])):
        with pytest.raises(StoreError, match="blobs is a symbolic link"):
            read()


def special(kind, path):
    """Put something at a path that is neither a directory nor a file; return how it is called."""
    if kind == "fifo":
        os.mkfifo(path)
        return "a FIFO"
    if kind == "socket":
        directory = os.open(os.path.dirname(path), os.O_RDONLY)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("/proc/self/fd/%d/socket" % directory)
        os.rename("socket", os.path.basename(path), src_dir_fd=directory, dst_dir_fd=directory)
        os.close(directory)
        return "a socket"
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no devices can be made here")
    return "a device"


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_special_files_are_refused_at_once(store, kind):
    manifest = store.manifest(TINY)
    for path, read in (
        (store.blob_path(manifest.blobs()[0].digest), lambda: store.small_blob(manifest.blobs()[0])),
        (store.manifest_path(TINY), lambda: store.manifest(TINY)),
    ):
        os.unlink(path)
        called = special(kind, path)
        with pytest.raises(StoreError, match="%s is %s, and a store has only directories and files" % (path, called)):
            read()
    with pytest.raises(StoreError, match="and a store has only directories and files"):
        store.names()
    assert [store.missing(manifest)[0]] == manifest.blobs()[:1]


def test_a_device_is_not_even_opened(store, monkeypatch):
    """To open some acts: a tape is rewound."""
    path = store.blob_path(store.manifest(TINY).blobs()[0].digest)
    layer = store.manifest(TINY).blobs()[0]
    os.unlink(path)
    special("device", path)
    opened, open_it = [], os.open
    monkeypatch.setattr(os, "open", lambda name, *rest, **more: opened.append(name) or open_it(name, *rest, **more))
    with pytest.raises(StoreError, match="is a device"):
        store.small_blob(layer)
    assert opened and os.path.basename(path) not in opened


def test_a_directory_in_the_place_of_a_manifest_is_refused(store):
    os.unlink(store.manifest_path(TINY))
    os.mkdir(store.manifest_path(TINY))
    with pytest.raises(StoreError, match="latest is a directory, where Ollama has none: move it away"):
        store.manifest(TINY)
    assert store.names() == []


def test_what_is_read_is_bounded(store, monkeypatch):
    monkeypatch.setattr(store_directory, "MAX_ENTRIES", 3)
    with pytest.raises(StoreError, match="more than 3 entries"):
        store.names()
    monkeypatch.setattr(store_directory, "MAX_ENTRIES", 4)
    assert store.names() == [TINY]
    for number in range(5):
        with open(store.manifest_path(parse("tiny:v%d" % number)), "wb") as stream:
            stream.write(b"{}")
    with pytest.raises(StoreError, match="more than 4 entries"):
        store.manifest(TINY)
    with open(store.manifest_path(TINY), "wb") as stream:
        stream.truncate(store_directory.MAX_BYTES * 100)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="is larger than"):
        store.manifest(TINY)


def test_a_deep_manifest_is_one_sentence(store):
    with open(store.manifest_path(TINY), "w") as stream:
        stream.write("[" * 100000)
    with pytest.raises(StoreError, match="is not? .*; remove it and pull the model again|is no manifest"):
        store.manifest(TINY)


def test_what_is_no_directory_is_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file is a file, where Ollama has none"):
        OpenStore.at(str(tmp_path / "file"))
    (tmp_path / "link").symlink_to(".")
    with OpenStore.at(str(tmp_path / "link")) as opened:
        assert opened.names() == []
    with pytest.raises(StoreError, match="link is a symbolic link"):
        OpenStore.at(str(tmp_path / "link"), follow=False)
