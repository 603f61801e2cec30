# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is no file never holds its reader."""

from __future__ import annotations

import hashlib
import io
import os
import socket

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.regular import (
    open_regular,
    read_regular,
    sha256_of,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import files, json_file, managed, systemd
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient, OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.created import _digest_of
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.manifest import Layer
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError

from tests.unit.plugins.scripted_server import serving

pytestmark = pytest.mark.usefixtures("at_most_a_minute")

DIGEST = "sha256:" + "a" * 64


def fifo(path):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    os.mkfifo(str(path))
    return str(path)


def test_a_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(str(tmp_path / "file")) == read_regular(str(tmp_path / "link")) == b"hello"
    assert read_regular(str(tmp_path / "file"), 2) == b"he"
    with pytest.raises(OSError):
        read_regular(str(tmp_path / "link"), follow=False)
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "none"))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (fifo(tmp_path / "pipe"), str(tmp_path), "/dev/zero", "/dev/tty", str(tmp_path / "socket")):
            with pytest.raises(OSError):
                open_regular(path)


def test_pipes_in_a_store(tmp_path):
    store = Store(str(tmp_path))
    fifo(store.manifest_path(parse("m")))
    with pytest.raises(StoreError, match="latest is a FIFO, and a store has only directories and files: remove it"):
        store.manifest(parse("m"))
    blob = fifo(store.blob_path(DIGEST))
    with pytest.raises(StoreError, match="is a FIFO, and a store has only directories and files: remove it"):
        store.small_blob(Layer("x", DIGEST, 5))
    with pytest.raises(source.SourceError, match="is not a regular file"):
        source.from_file(blob)


def test_a_pipe_as_adapter(tmp_path):
    path = fifo(tmp_path / "adapter")
    with pytest.raises(ModelError, match="it is not a regular file"):
        _digest_of("adapter", path)
    url = "/api/blobs/" + DIGEST
    with serving({("HEAD", url): (404, b""), ("POST", url): (201, b"")}) as server:
        with pytest.raises(OllamaError, match="cannot read .*: it is not a regular file"):
            OllamaClient(server.url).put_blob(DIGEST, path)


def test_pipes_among_the_files_of_a_host(tmp_path):
    path = fifo(tmp_path / "pipe")
    properties = {"Environment": "A=1", "EnvironmentFiles": "%s (ignore_errors=no)" % path}
    assert systemd.environment(properties) == {"A": "1"}
    assert json_file.read_object(path) is None
    for read in (files._read, managed._digest):
        with pytest.raises(OSError):
            read(path)


def test_pipes_in_the_cache(tmp_path):
    cache = Cache(str(tmp_path))
    assert cache.fetch(["x"], lambda: {"n": 1}) == {"n": 1}
    for path in list(tmp_path.iterdir()):
        path.unlink()
        if path.suffix == ".json":
            fifo(path)
    assert cache.fetch(["x"], lambda: {"n": 2}) == {"n": 2}


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1])
def test_the_hash_of_what_is_left_of_a_stream(size):
    content = os.urandom(size)
    stream = io.BytesIO(b"read before" + content)
    stream.seek(len(b"read before"))
    assert sha256_of(stream) == hashlib.sha256(content).hexdigest()
