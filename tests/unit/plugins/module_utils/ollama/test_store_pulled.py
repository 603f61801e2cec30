# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What was pulled under a name that was given to another model."""

from __future__ import annotations

import os
import shutil

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store_pulled import GIVEN, PULLED, side_path

from tests.unit.plugins.module_utils.ollama.test_store import TINY, put

OPTIMIZED = parse("tiny:optimized")


def given(tmp_path):
    """(a store where the plain name was given to the optimized model, the digests of what was pulled and made)"""
    store = Store(str(tmp_path / "gpu0"))
    pulled, made = put(store, TINY, b"template"), put(store, OPTIMIZED, b"template", b"parameters")
    store.give_names(OPTIMIZED, [TINY])
    return store, pulled, made


def test_a_store_without_such_names_has_what_its_manifests_say(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    assert store.pulled(TINY) is None and not store.is_renamed(TINY) and not store.has_record(TINY)
    digest = put(store, TINY)
    assert store.pulled(TINY).digest == store.complete(TINY, pulled=True).digest == digest
    assert not store.is_renamed(TINY) and not store.has_record(TINY)


def test_what_was_pulled_stays_known(tmp_path):
    store, pulled, made = given(tmp_path)
    assert store.digest(TINY) == made and store.pulled(parse("TINY")).digest == pulled
    assert store.is_renamed(TINY) and store.has_record(TINY) and not store.is_renamed(OPTIMIZED)
    assert store.complete(TINY, pulled=True).digest == pulled
    os.unlink(store.blob_path(store.pulled(TINY).blobs()[1].digest))
    assert store.complete(TINY, pulled=True) is None


def test_a_name_that_was_pulled_again_counts_as_it_is_now(tmp_path):
    store = given(tmp_path)[0]
    new = put(store, TINY, b"another template")
    assert store.pulled(TINY).digest == new and not store.is_renamed(TINY)


def test_a_model_that_was_made_anew_by_hand_changes_nothing_of_what_was_pulled(tmp_path):
    store, pulled, unused = given(tmp_path)
    put(store, OPTIMIZED, b"template", b"other parameters")
    assert store.pulled(TINY).digest == pulled


def test_a_name_that_was_removed_by_hand_is_not_there(tmp_path):
    store = given(tmp_path)[0]
    os.unlink(store.manifest_path(TINY))
    assert store.pulled(TINY) is None and store.complete(TINY, pulled=True) is None


def test_without_the_record_of_what_was_given_the_name_counts_as_it_is(tmp_path):
    store, unused, made = given(tmp_path)
    assert os.path.isfile(os.path.join(store.path, PULLED, *side_path(TINY)))
    shutil.rmtree(os.path.join(store.path, GIVEN))
    assert store.pulled(TINY).digest == made
