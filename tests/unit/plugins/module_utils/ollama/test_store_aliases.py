# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Several names of a store that name one model."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import store_aliases
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError

from tests.unit.plugins.module_utils.ollama.test_store import TINY, blobs, put
from tests.unit.plugins.module_utils.ollama.test_store_pulled import OPTIMIZED, given

CHAT = parse("chat")


def test_names_are_given_once(tmp_path):
    store, pulled, made = given(tmp_path)
    store.give_names(OPTIMIZED, [TINY, CHAT])
    assert store.digest(TINY) == store.digest(CHAT) == made and store.pulled(TINY).digest == pulled
    assert [str(name) for name in store.names()] == ["chat:latest", "tiny:latest", "tiny:optimized"]


def test_names_follow_a_model_that_is_made_anew(tmp_path):
    store, pulled, unused = given(tmp_path)
    store.give_names(OPTIMIZED, [CHAT])
    new = put(store, OPTIMIZED, b"template", b"other parameters")
    store.give_names(OPTIMIZED, [TINY, CHAT])
    assert store.digest(TINY) == store.digest(CHAT) == new and store.pulled(TINY).digest == pulled
    # Under a name that was only ever given nothing was pulled.
    assert store.pulled(CHAT) is None and store.is_renamed(CHAT)


def test_a_name_gets_back_what_was_pulled_under_it(tmp_path):
    store, pulled, made = given(tmp_path)
    store.restore(TINY)
    assert store.digest(TINY) == pulled and store.pulled(TINY).digest == pulled and not store.is_renamed(TINY)
    store.restore(TINY)
    store.restore(CHAT)
    store.give_names(OPTIMIZED, [TINY])
    assert store.digest(TINY) == made


@pytest.mark.parametrize("writes", range(4))
def test_a_run_that_is_killed_loses_nothing(tmp_path, monkeypatch, writes):
    """Whatever was written before, what was pulled is known, and the next run ends it."""
    store, pulled, unused = given(tmp_path)
    new = put(store, OPTIMIZED, b"template", b"other parameters")
    really, left = store_aliases.write_manifest, [writes]

    def killed(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        really(*arguments)

    monkeypatch.setattr(store_aliases, "write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        store.give_names(OPTIMIZED, [TINY])
    assert store.pulled(TINY).digest == pulled
    monkeypatch.setattr(store_aliases, "write_manifest", really)
    store.give_names(OPTIMIZED, [TINY])
    assert store.digest(TINY) == new and store.pulled(TINY).digest == pulled


def test_a_model_that_is_not_there_has_no_names(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    put(store, TINY)
    with pytest.raises(StoreError, match="does not have tiny:optimized"):
        store.give_names(OPTIMIZED, [TINY])


def test_a_link_in_the_place_of_a_manifest_is_refused(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    put(store, OPTIMIZED)
    os.symlink("/etc/hostname", store.manifest_path(TINY))
    with pytest.raises(StoreError, match="symbolic link"):
        store.give_names(OPTIMIZED, [TINY])


def test_what_was_pulled_goes_with_its_name(tmp_path):
    store = given(tmp_path)[0]
    store.remove(TINY)
    assert store.names() == [OPTIMIZED] and not store.has_record(TINY) and len(blobs(store)) == 3
    store.remove(OPTIMIZED)
    assert blobs(store) == [] and os.listdir(os.path.join(store.path, "pulled-manifests")) == []


def test_a_model_that_is_removed_leaves_what_others_were_made_from(tmp_path):
    store, pulled, unused = given(tmp_path)
    store.remove(OPTIMIZED)
    assert store.complete(TINY, pulled=True).digest == pulled


def test_another_store_gets_what_was_pulled_or_what_is_served(tmp_path):
    store, pulled, made = given(tmp_path)
    other = Store(str(tmp_path / "gpu1"))
    other.take_from(store, TINY, pulled=True)
    assert other.digest(TINY) == pulled and not other.is_renamed(TINY)
    other.take_from(store, TINY)
    assert other.digest(TINY) == made
