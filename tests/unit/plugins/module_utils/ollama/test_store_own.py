# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A file that becomes a blob in pieces, whatever lies in its place."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import own_blob, store_own
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.own_file import OwnFile
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError

CONTENT = b"GGUF" + bytes(range(250)) * 40


def own(path):
    return OwnFile("host_file", str(path), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "llama")


@pytest.fixture(name="file")
def _file(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(name="store")
def _store(tmp_path):
    return Store(str(tmp_path / "gpu0"))


def test_a_file_is_brought_once(store, file):
    assert own_blob.bytes_there(store, own(file)) == 0 and not os.path.exists(store.path)
    assert own_blob.bring(store, own(file), 5) == len(CONTENT)
    assert own_blob.bring(store, own("/gone"), 5) == 0
    assert os.listdir(store.path + "/blobs") == ["sha256-" + own(file).sha256]


def test_a_file_goes_on_where_an_earlier_run_ended(store, file, tmp_path):
    piece = tmp_path / "piece"
    piece.write_bytes(CONTENT[:700])
    assert own_blob.append(store, own(file), 0, str(piece)) == 700 == own_blob.bytes_there(store, own(file))
    with pytest.raises(StoreError, match="has 700 bytes and not 0"):
        own_blob.append(store, own(file), 0, str(piece))
    assert own_blob.bring(store, own(file), 5) == len(CONTENT) - 700


def test_a_file_that_is_shorter_or_another_is_refused(store, file):
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(StoreError, match="ended after %d of %d bytes" % (len(CONTENT) - 1, len(CONTENT))):
        own_blob.bring(store, own(file), 5)
    file.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(StoreError, match="has the SHA-256"):
        own_blob.bring(store, own(file), 5)
    assert own_blob.bytes_there(store, own(file)) == 0
    with pytest.raises(StoreError, match="has not been sent"):
        own_blob.bring(store, OwnFile.of(dict(own(file).told(), kind="file")), 5)


def test_a_link_in_its_place_is_not_followed(store, file, tmp_path):
    blobs = tmp_path / "gpu0" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("sha256-" + own(file).sha256 + store_own.UNCOMPLETED)).symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="symbolic link"):
        own_blob.bring(store, own(file), 5)


def test_a_file_for_which_there_is_no_room(store, file, monkeypatch):
    monkeypatch.setattr(os, "fstatvfs", lambda fd: type("S", (), {"f_bavail": 0, "f_frsize": 4096})())
    with pytest.raises(StoreError, match="where 0 are free; free %d more" % len(CONTENT)):
        own_blob.bring(store, own(file), 5)
