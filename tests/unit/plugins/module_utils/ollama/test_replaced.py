# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that were replaced in a store; what a server makes of it: modules/test_replaced_models.py."""

from __future__ import annotations

import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import replaced
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.listing import list_store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.unit.plugins.module_utils.ollama.test_store import TINY, put


def test_a_model_that_is_linked_over_another_keeps_it(tmp_path):
    first, second = Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))
    old = put(first, TINY, b"old")
    new = put(second, TINY, b"new")
    first.take_from(second, TINY)
    assert first.digest(TINY) == new
    with replaced.named(first, old) as name:
        assert first.complete(name).digest == old and name in first.names()
    assert first.names() == [TINY]
    with replaced.named(second, old) as name:
        assert name is None
    # Its blobs are no leftovers, however old they are.
    for path in (tmp_path / "gpu0" / "blobs").iterdir():
        os.utime(path, (0, 0))
    assert list_store(first.path, os.getuid(), own=True)["leftovers"] == []


def test_what_a_server_will_replace_is_kept_once(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    replaced.keep(None, TINY)
    replaced.keep(store, TINY)
    assert not os.path.exists(store.path)
    old = put(store, TINY, b"old")
    replaced.keep(store, TINY, TINY)
    put(store, TINY, b"new")
    with replaced.named(store, old) as name:
        assert store.digest(name) == old
    os.unlink(store.blob_path(store.manifest(TINY).blobs()[0].digest))
    with replaced.named(store, old) as name:
        assert name is None
