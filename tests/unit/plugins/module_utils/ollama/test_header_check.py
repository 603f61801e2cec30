# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The headers of the files in a store against those that a plan was made from."""

from __future__ import annotations

import dataclasses
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import header_check
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError

from tests.rig.models import store as rig_models

NAME = parse("tiny")


@pytest.fixture(name="store")
def _store(tmp_path):
    rig_models.write_into_store("tiny", tmp_path)
    return Store(str(tmp_path))


def planned(store, **changes):
    """The headers of the model in the store, each changed."""
    found = header_check.planned_headers(source.from_store(store, "tiny")[0]["headers"])
    return tuple(dataclasses.replace(header, **changes) for header in found)


def blob_of(store):
    return store.blob_path(store.manifest(NAME).with_headers()[0].digest)


def test_the_header_that_was_read_is_that_of_the_file(store):
    assert header_check.differs(store, NAME, planned(store)) is False
    assert header_check.differs(store, parse("other"), planned(store)) is None


def test_every_byte_of_the_header_counts_and_none_after_it(store):
    expected = planned(store)
    with open(blob_of(store), "r+b") as stream:
        stream.seek(expected[0].size_bytes)
        stream.write(b"weights")
        assert header_check.differs(store, NAME, expected) is False
        stream.seek(expected[0].size_bytes - 1)
        stream.write(b"\xff")
    assert header_check.differs(store, NAME, expected) is True


def test_another_size_or_number_of_headers_differs(store):
    assert header_check.differs(store, NAME, planned(store, size_bytes=64)) is True
    assert header_check.differs(store, NAME, planned(store, size_bytes=60 * 1024 * 1024)) is True
    assert header_check.differs(store, NAME, planned(store) * 2) is True


def test_sizes_that_no_header_has_are_refused():
    for size in (-1, 0, 1 << 40):
        with pytest.raises(ModelError, match="a header of %d bytes" % size):
            header_check.planned_headers([{"header_bytes": size, "header_sha256": "a"}])
    assert header_check.planned_headers(None) is header_check.planned_headers([]) is None


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path), os.mkdir])
def test_what_is_no_file_is_refused_and_holds_nobody(store, make):
    expected, path = planned(store), blob_of(store)
    os.unlink(path)
    make(path)
    with pytest.raises(StoreError):
        header_check.differs(store, NAME, expected)
