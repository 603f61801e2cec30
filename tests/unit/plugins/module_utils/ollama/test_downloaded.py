# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that are downloaded without a server: what is there already, what breaks, what is told. With a registry:
modules/test_registry_with_login.py."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import downloaded
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.manifest import Manifest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.next_bytes import next_bytes
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import RegistryError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError

from tests.rig.waiting import PATIENCE

FILES = {"sha256:" + hashlib.sha256(content).hexdigest(): content for content in (b"weights" * 1000, b"{}")}
(MODEL, CONFIG) = FILES
MANIFEST = Manifest(
    json.dumps(
        {
            "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": MODEL, "size": 7000}],
            "config": {"mediaType": "x", "digest": CONFIG, "size": 2},
        }
    ).encode()
)


class Mirror:
    """A registry that sends at most `most` bytes at a time, and then breaks; each request is noted. It calls `wait`
    after each part.
    """

    def __init__(self, most=10**6, wait=lambda: None):
        self.most, self.wait, self.asked = most, wait, []

    @contextlib.contextmanager
    def reader(self, digest, offset, whole):
        self.asked.append((digest, offset))
        content = FILES[digest][offset : offset + self.most]

        def parts():
            for part in filter(None, (content[: whole // 2], content[whole // 2 :])):
                yield part
                self.wait()
            if offset + len(content) < whole:
                raise RegistryError("unreachable", "the connection to the mirror broke")

        yield next_bytes(parts())


def bring(path, mirror, report=None, user=None):
    target = SimpleNamespace(store=Store(str(path), user), forget=lambda: None)
    downloaded.download(target, parse("tiny"), MANIFEST, lambda: mirror, report)
    return target.store


def test_a_model_is_there_with_all_of_its_blobs(tmp_path):
    told = []
    store = bring(tmp_path / "s", Mirror(), lambda *bytes_of: told.append(bytes_of))
    assert store.complete(parse("tiny")).digest == MANIFEST.digest and told[-1] == (7002, 7002)
    again = Mirror()
    bring(tmp_path / "s", again)
    assert again.asked == []


def test_a_connection_that_breaks_is_made_again_as_long_as_bytes_come(tmp_path):
    bring(tmp_path / "s", Mirror(most=3000))
    with pytest.raises(StoreError, match="the mirror broke; what has been downloaded is kept"):
        bring(tmp_path / "other", Mirror(most=0))


def test_how_far_it_is_is_told_while_the_users_process_works(place, nobody):
    store, told = place / "s", []
    store.mkdir()
    os.chown(store, nobody.uid, nobody.gid)
    is_told, tell = os.pipe()

    def report(*bytes_of):
        told.append(bytes_of)
        if bytes_of == (3500, 7002):
            os.write(tell, b"x")

    # The rest comes once the half of it is told. The byte stays in the pipe.
    bring(store, Mirror(wait=lambda: select.select([is_told], [], [], PATIENCE)), report, nobody.name)
    os.close(is_told)
    os.close(tell)
    assert (3500, 7002) in told and told[-1] == (7002, 7002)
    assert {entry.stat().st_uid for entry in (store / "blobs").iterdir()} == {nobody.uid}


def test_without_a_store_there_is_no_place(tmp_path):
    target = SimpleNamespace(store=None)
    with pytest.raises(ModelError, match="needs the store on this host; give store"):
        downloaded.download(target, parse("tiny"), MANIFEST, Mirror, None)
