# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a file of the user; with an address: modules/test_own_models.py."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import own
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.manifest_facts import SourceError

from tests.rig.models import store as rig_models
from tests.unit.rig.adapter_files import write_adapter


@pytest.fixture(name="gguf", scope="module")
def _gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "tiny.gguf"
    rig_models.write_model("tiny", path)
    return path


def test_the_hash_is_computed_once_for_a_file_as_it_is(gguf, tmp_path, monkeypatch):
    cache = Cache(str(tmp_path / "cache"))
    model = own.from_own_file(str(gguf), "mine", None, cache)[0]
    assert model["own_file"]["sha256"] == hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert model["own_file"]["size_bytes"] == gguf.stat().st_size and model["name"] == "mine"
    monkeypatch.setattr(own, "_hash", lambda path: "sha256:" + "0" * 64)
    assert own.from_own_file(str(gguf), "mine", None, cache)[0] == model
    os.utime(gguf, ns=(1, 1))
    assert own.from_own_file(str(gguf), "mine", None, cache)[0]["own_file"]["sha256"] == "0" * 64


def test_what_is_no_model_in_one_file(gguf, monkeypatch):
    facts = {"block_count": 2, "architecture": "llama", "file_bytes": 5, "split_count": 3}
    monkeypatch.setattr(own, "from_file", lambda path, name: (facts, 5))
    with pytest.raises(SourceError, match="llama-gguf-split --merge"):
        own.from_own_file(str(gguf), "mine", "a" * 64, Cache(None))
    for change in ({"architecture": "clip"}, {"block_count": 0}):
        facts = dict(block_count=2, architecture="llama", file_bytes=5, split_count=None) | change
        with pytest.raises(SourceError, match="is a projector or an adapter"):
            own.from_own_file(str(gguf), "mine", "a" * 64, Cache(None))


class Address:
    """A file as FileAtAddress gives it, which counts what is read of it."""

    def __init__(self, path):
        self.url, self.bytes_read, self._content = "https://x/a.gguf", 0, path.read_bytes()

    def size(self):
        return len(self._content)

    def range(self, offset, size):
        self.bytes_read += size
        return self._content[offset : offset + size]


def test_an_adapter_behind_an_address_is_read_once(tmp_path):
    path = tmp_path / "a.gguf"
    write_adapter(path, "tiny", 8, ("attn_q", "token_embd"))
    cache = Cache(str(tmp_path / "cache"))
    found, bytes_read = own.adapter_from_address(Address(path), "a" * 64, cache)
    assert bytes_read > 0 and (found["sha256"], found["size_bytes"]) == ("a" * 64, path.stat().st_size)
    assert own.adapter_from_address(Address(path), "a" * 64, cache) == (found, 0)
    local = own.adapter_from_file(str(path), None, Cache(None))[0]
    assert dict(found, sha256=local["sha256"]) == local and found["layer_bytes"] and found["embedding_bytes"]


@pytest.mark.parametrize(
    "pairs, words",
    [
        ({"general.type": "model"}, "its general.type is 'model', not adapter"),
        ({"adapter.type": "control_vector"}, "its adapter.type is 'control_vector', not lora"),
    ],
)
def test_what_is_no_adapter(tmp_path, gguf, pairs, words):
    with pytest.raises(SourceError, match=words):
        own.adapter_from_file(write_adapter(tmp_path / "a.gguf", "tiny", 8, ("attn_q",), **pairs), None, Cache(None))
    with pytest.raises(SourceError, match="its general.type is not set, not adapter"):
        own.adapter_from_address(Address(gguf), "a" * 64, Cache(None))
