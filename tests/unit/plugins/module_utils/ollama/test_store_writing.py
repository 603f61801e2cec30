# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files of a store are written as a whole, where they fit, and over nothing that another has put there."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import store_writing
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import StoreError


@pytest.mark.parametrize("kind", ["a link", "a FIFO", "a file that has another link"])
def test_what_appears_in_the_place_of_an_unfinished_file_is_not_written_to(tmp_path, kind):
    other, draft = tmp_path / "other", tmp_path / "store" / "manifest-copying"
    draft.parent.mkdir()
    other.write_text("as before")
    if kind == "a FIFO":
        os.mkfifo(draft)
    elif kind == "a link":
        draft.symlink_to("../other")
    else:
        os.link(other, draft)
    with store_writing.opened_store(str(draft.parent)) as store, pytest.raises(FileExistsError):
        store_writing.write_manifest(store, store.descriptor, b"{}", ("manifests", "latest"))
    assert other.read_text() == "as before" and not (draft.parent / "manifests" / "latest").exists()


@pytest.mark.parametrize("needed, refused", [(8, False), (9, True)])
def test_what_does_not_fit_is_refused_with_the_bytes_that_are_missing(tmp_path, monkeypatch, needed, refused):
    class Full:
        f_bavail, f_frsize = 1, 8

    with store_writing.opened_store(str(tmp_path / "store")) as store:
        monkeypatch.setattr(os, "fstatvfs", lambda descriptor: Full)
        if not refused:
            store_writing.check_space(store, store.descriptor, "the model", needed)
            return
        with pytest.raises(StoreError, match="the model needs 9 bytes in .*store, where 8 are free; free 1 more"):
            store_writing.check_space(store, store.descriptor, "the model", needed)


def test_what_the_system_takes_in_pieces_is_written_as_a_whole(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, bytes(content[:3])))
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    store_writing.write_all(descriptor, b"the model")
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"the model"
