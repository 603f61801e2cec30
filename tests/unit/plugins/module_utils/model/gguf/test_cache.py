# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The cache of facts: one process computes, damaged entries are read again, errors are not kept."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache, CacheError
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError

from tests.rig.waiting import AT_ONCE, PATIENCE


def _compute_in(directory, counter):
    def compute():
        with open(counter, "a") as stream:
            stream.write("x")
        time.sleep(0.3)  # long enough for all the others to come
        return {"n": 1}

    assert Cache(directory).fetch(["sha256:1"], compute) == {"n": 1}


def test_ten_at_once_compute_once(tmp_path):
    counter = tmp_path / "counter"
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_compute_in, args=(str(tmp_path / "cache"), str(counter))) for unused in range(10)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert counter.read_text() == "x"


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format": 0}', '{"format": 1, "digests": ["other"], "facts": {}}', "[" * 200000]
)
def test_a_damaged_entry_is_read_anew(tmp_path, damage):
    cache = Cache(str(tmp_path))
    cache.fetch(["sha256:1"], lambda: {"n": 1})
    entry = next(path for path in tmp_path.iterdir() if path.suffix == ".json")
    entry.write_text(damage)
    assert cache.fetch(["sha256:1"], lambda: {"n": 2}) == {"n": 2}


def test_a_failure_is_not_kept(tmp_path):
    cache = Cache(str(tmp_path))

    def fail():
        raise HeaderError("x")

    with pytest.raises(HeaderError):
        cache.fetch(["sha256:1"], fail)
    assert cache.fetch(["sha256:1"], lambda: {"n": 3}) == {"n": 3}


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="set cache_dir to a directory"):
        Cache(str(tmp_path / "file" / "below")).fetch(["sha256:1"], dict)


def _reads_for_long(directory, ready):
    def compute():
        ready.set()
        time.sleep(2 * PATIENCE)

    Cache(directory).fetch(["sha256:1"], compute)


def test_a_slow_reader_holds_nobody_for_long(tmp_path):
    """What a registry sends slowly to one host must not keep the others from their plans."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_reads_for_long, args=(str(tmp_path), ready))
    process.start()
    try:
        assert ready.wait(PATIENCE)
        begin = time.monotonic()
        assert Cache(str(tmp_path)).fetch(["sha256:1"], lambda: {"n": 1}, patience=0.3) == {"n": 1}
        assert 0.3 <= time.monotonic() - begin < AT_ONCE
        assert Cache(str(tmp_path)).fetch(["sha256:1"], dict, patience=0) == {"n": 1}
        assert Cache(str(tmp_path)).fetch(["sha256:2"], lambda: {"n": 2}, patience=0) == {"n": 2}
    finally:
        process.kill()
        process.join()


def test_an_entry_that_lied_is_replaced(tmp_path):
    cache = Cache(str(tmp_path))
    cache.fetch(["sha256:1"], lambda: {"n": "a lie"})
    assert cache.fetch(["sha256:1"], lambda: {"n": "true"}) == {"n": "a lie"}
    assert cache.fetch(["sha256:1"], lambda: {"n": "true"}, refresh=True) == {"n": "true"}
    assert cache.fetch(["sha256:1"], dict) == {"n": "true"}


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_directory_that_others_may_write_is_refused(tmp_path, mode):
    """Its entries would be believed."""
    cache = Cache(str(tmp_path / "cache"))
    cache.fetch(["sha256:1"], lambda: {"n": 1})
    assert (tmp_path / "cache").stat().st_mode & 0o7777 == 0o700
    (tmp_path / "cache").chmod(mode)
    with pytest.raises(CacheError, match="others may write the cache directory .*mode %04o.*: remove it" % mode):
        cache.fetch(["sha256:1"], lambda: {"n": 2})


def test_a_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o700)
    owner = (tmp_path / "cache").stat().st_uid
    if owner == 0:  # root can give it away
        os.chown(tmp_path / "cache", 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CacheError, match="belongs to another user: remove it, or set cache_dir"):
        Cache(str(tmp_path / "cache")).fetch(["sha256:1"], dict)
