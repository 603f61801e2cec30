# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Manifests that are kept and put back."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError

from tests.unit.plugins.module_utils.ollama.test_store import put

TINY, OTHER = parse("tiny"), parse("reg:5000/me/other:v1")


@pytest.fixture(name="store")
def _store(tmp_path):
    return Store(str(tmp_path / "gpu0"))


def test_a_store_gets_back_what_it_had(store):
    digest = put(store, TINY, b"parameters")
    put(store, OTHER, b"more")
    store.give_names(OTHER, [parse("plain")])
    kept = store.kept()
    assert len(kept) >= 3
    put(store, TINY, b"other parameters")
    put(store, parse("new"), b"x")
    store.remove(parse("plain"))
    assert store.digest(TINY) != digest
    assert store.put_back(kept) >= 3
    assert store.digest(TINY) == digest and store.complete(TINY)
    assert sorted(str(name) for name in store.names()) == ["plain:latest", "reg:5000/me/other:v1", "tiny:latest"]
    assert store.kept() == kept and store.put_back(kept) == 0


def test_a_store_that_is_not_there_has_nothing(store):
    assert store.kept() == {}


def test_a_link_among_the_manifests_is_refused(store, tmp_path):
    put(store, TINY, b"x")
    (tmp_path / "gpu0" / "manifests" / "evil").symlink_to("/etc")
    with pytest.raises(StoreError, match="symbolic link"):
        store.kept()
