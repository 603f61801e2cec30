# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that are linked, pulled or removed; the pulls themselves are in the tests of the module model."""

from __future__ import annotations

import errno
import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import absent, present
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError, OllamaUnreachable
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.manifest import Manifest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import RegistryError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Brought, Store, StoreError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Target

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient
from tests.unit.plugins.module_utils.ollama.giving import give
from tests.unit.plugins.module_utils.ollama.test_store import put

TINY = parse("tiny")
LAYER = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64, "size": 1000}
OFFERED = Manifest(json.dumps({"layers": [LAYER]}).encode())


@pytest.fixture
def stores(tmp_path):
    return Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))


@pytest.fixture
def registry(monkeypatch):
    """What the registry answers: put a manifest or an error into the list."""
    answers = []

    class Registry:
        def __init__(self, name, **unused):
            self.name = name

        def manifest(self):
            if isinstance(answers[0], Exception):
                raise answers[0]
            return answers[0]

    monkeypatch.setattr(present, "Registry", Registry)
    return answers


def offline(store):
    return Target(FakeClient(running=False), store)


def test_a_model_of_another_store_is_linked(stores):
    digest = put(stores[0], TINY, b"a")
    pull = present.Pull(link_from=[stores[1], stores[0]])
    check = present.ensure_pulled(offline(stores[1]), TINY, pull, check_mode=True)
    assert (check.action, check.digest, check.pulled_bytes) == ("link", digest, 0) and not stores[1].names()
    done = present.ensure_pulled(offline(stores[1]), TINY, pull, digest)
    assert (done.action, done.after) == ("link", {"digest": digest, "linked_from": stores[0].path})
    assert stores[1].complete(TINY).digest == digest
    assert present.ensure_pulled(offline(stores[1]), TINY, pull).action == "none"


def test_a_model_that_cannot_be_linked_is_copied(stores, monkeypatch):
    digest = put(stores[0], TINY, b"a")

    def refuse(*unused, **unused2):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    outcome = present.ensure_pulled(offline(stores[1]), TINY, present.Pull(link_from=[stores[0]]), digest)
    assert (outcome.action, outcome.after) == ("copy", {"digest": digest, "copied_from": stores[0].path})
    assert stores[1].complete(TINY).digest == digest


def test_a_store_that_can_be_linked_from_goes_before_one_that_is_copied(tmp_path, stores, monkeypatch):
    ways = {"gpu0": Brought(copied_bytes=9), "other": Brought(linked_bytes=9)}
    monkeypatch.setattr(Store, "way_from", lambda self, other, name, pulled: ways[os.path.basename(other.path)])
    other = Store(str(tmp_path / "other"))
    for store in (stores[0], other):
        put(store, TINY, b"a")
    for pull, wanted in (([stores[0], other], "link"), ([stores[0]], "copy")):
        outcome = present.ensure_pulled(offline(stores[1]), TINY, present.Pull(link_from=pull), check_mode=True)
        assert outcome.action == wanted and not os.path.exists(stores[1].path)
    monkeypatch.setattr(Store, "free_bytes", lambda self: 8)
    with pytest.raises(ModelError, match="tiny:latest needs 9 bytes in .*, where 8 are free; free 1 more"):
        present.ensure_pulled(offline(stores[1]), TINY, present.Pull(link_from=[stores[0]]), check_mode=True)


def test_what_was_pulled_is_linked_although_what_was_made_from_it_is_damaged(stores):
    optimized = parse("tiny:optimized")
    pulled = put(stores[0], TINY, b"template")
    put(stores[0], optimized, b"template", b"parameters")
    stores[0].give_names(optimized, [TINY])
    os.unlink(stores[0].blob_path(stores[0].manifest(TINY).blobs()[2].digest))
    outcome = present.ensure_pulled(offline(stores[1]), TINY, present.Pull(link_from=[stores[0]]))
    assert (outcome.action, outcome.digest, outcome.warnings) == ("link", pulled, [])


def test_a_store_that_is_refused_is_said_and_the_model_comes_from_elsewhere(tmp_path, stores, registry):
    """Its owner cannot keep an instance from its models by a link."""
    put(stores[0], TINY, b"a")
    os.rename(stores[0].path + "/blobs", tmp_path / "moved")
    os.symlink(tmp_path / "moved", stores[0].path + "/blobs")
    registry.append(OFFERED)
    pull = present.Pull(link_from=[stores[0]])
    outcome = present.ensure_pulled(offline(stores[1]), TINY, pull, check_mode=True)
    assert outcome.action == "pull"
    (warning,) = outcome.warnings
    assert "is not taken from the store %s: %s/blobs is a symbolic link" % (stores[0].path, stores[0].path) in warning
    other = Store(str(tmp_path / "other"))
    put(other, TINY, b"a")
    pull = present.Pull(link_from=[stores[0], other])
    outcome = present.ensure_pulled(offline(stores[1]), TINY, pull)
    assert outcome.action == "link" and outcome.warnings == [warning]


def test_a_model_of_a_stopped_instance_is_removed_as_its_user(place, nobody):
    store = Store(str(place / "gpu0"), nobody.name)
    put(store, TINY, b"a")
    give(store.path, nobody)
    os.chown(store.path + "/blobs", 0, 0)
    with pytest.raises(StoreError, match="cannot remove tiny:latest .*: Permission denied"):
        absent.ensure_absent(offline(store), TINY)
    os.chown(store.path + "/blobs", nobody.uid, nobody.gid)
    put(store, TINY, b"a")
    give(store.path, nobody)
    assert absent.ensure_absent(offline(store), TINY).action == "delete" and store.names() == []


def test_a_model_with_another_digest_is_not_linked(stores, registry):
    put(stores[0], TINY, b"a")
    registry.append(OFFERED)
    pull = present.Pull(link_from=[stores[0]])
    outcome = present.ensure_pulled(offline(stores[1]), TINY, pull, OFFERED.digest, check_mode=True)
    assert (outcome.action, outcome.digest, outcome.pulled_bytes) == ("pull", OFFERED.digest, 1000)


def test_the_pin_is_compared_before_the_pull(registry):
    registry.append(OFFERED)
    with pytest.raises(ModelError, match="so nothing was pulled"):
        present.ensure_pulled(Target(FakeClient()), TINY, present.Pull(), "sha256:" + "1" * 64, check_mode=True)


def test_space_is_checked_before_the_pull(stores, registry, monkeypatch):
    registry.append(OFFERED)
    monkeypatch.setattr(Store, "free_bytes", lambda self: 300)
    with pytest.raises(ModelError, match="free 700 more"):
        present.ensure_pulled(Target(FakeClient(), stores[0]), TINY, present.Pull(), check_mode=True)


def test_only_the_server_may_reach_the_registry(registry):
    registry.append(RegistryError("unreachable", "no way"))
    outcome = present.ensure_pulled(Target(FakeClient()), TINY, present.Pull(), check_mode=True)
    assert (outcome.action, outcome.digest, outcome.pulled_bytes) == ("pull", None, None)
    with pytest.raises(RegistryError):
        present.ensure_pulled(Target(FakeClient()), TINY, present.Pull(), OFFERED.digest, check_mode=True)
    with pytest.raises(OllamaUnreachable):
        present.ensure_pulled(Target(FakeClient(running=False)), TINY, present.Pull())


def test_a_loaded_model_is_unloaded_before_it_is_removed():
    client = FakeClient({"tiny": ""})
    client.load("tiny:latest")
    client.called.clear()
    assert absent.ensure_absent(Target(client), TINY, check_mode=True).action == "delete" and not client.called
    assert absent.ensure_absent(Target(client), TINY).action == "delete"
    assert client.called == [("unload", "tiny:latest"), ("delete", "tiny:latest")]
    assert absent.ensure_absent(Target(client), TINY).action == "none"


def test_a_model_is_removed_from_a_store_without_a_server(stores):
    put(stores[0], TINY, b"a")
    assert absent.ensure_absent(offline(stores[0]), TINY).action == "delete" and not stores[0].names()
    assert absent.ensure_absent(offline(stores[0]), TINY).action == "none"
    assert absent.ensure_absent(Target(FakeClient(running=False)), TINY, check_mode=True).action == "none"
    with pytest.raises(OllamaUnreachable):
        absent.ensure_absent(Target(FakeClient(running=False)), TINY)


def test_a_server_that_says_more_bytes_than_the_manifest_is_named(registry, monkeypatch):
    registry.append(OFFERED)
    asked = []

    def pull(name, **options):
        asked.append(options["sizes"])
        raise OllamaError(200, "it says that the blob x has 9 bytes")

    client = FakeClient()
    client.pull = pull
    with pytest.raises(ModelError, match="has 9 bytes.*: check that a trusted Ollama server answers"):
        present.ensure_pulled(Target(client), TINY, present.Pull())
    assert asked == [{LAYER["digest"]: 1000}]
