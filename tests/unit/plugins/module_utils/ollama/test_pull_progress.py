# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Progress of a pull at times that are given: what is slow but honest passes, what is a trickle does not."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.pull_progress import (
    MAX_BYTES,
    PullProgress,
    TooLarge,
    TooSlow,
)

GIB = 1024**3


def line(completed, total=10 * GIB, digest="sha256:a", status="pulling a"):
    return {"status": status, "digest": digest, "total": total, "completed": completed}


def feed(progress, per_second, seconds):
    for second in range(seconds):
        progress.note(line(second * per_second), float(second))


def test_a_slow_line_passes():
    progress = PullProgress(120, {"sha256:a": 10 * GIB})
    feed(progress, 100 * 1024, 7200)
    assert progress.attempt_helped() and progress.blobs() == {"sha256:a": 7199 * 100 * 1024}


@pytest.mark.parametrize("per_second", [1, 1024])
def test_a_trickle_is_too_slow(per_second):
    progress = PullProgress(120, {})
    with pytest.raises(TooSlow, match="made no progress for 600 seconds .less than 8 KiB/s"):
        feed(progress, per_second, 7200)
    assert not progress.attempt_helped()


def test_a_blob_whose_end_moves_along_is_no_progress():
    progress = PullProgress(120, {})
    with pytest.raises(TooSlow):
        for second in range(7200):
            progress.note(line(second, total=second), float(second))


def test_small_blobs_and_steps_are_progress():
    progress = PullProgress(120, {})
    for number in range(20):
        progress.note(line(0, 10, "sha256:%d" % number), number * 1000.0)
        progress.note(line(10, 10, "sha256:%d" % number), number * 1000.0 + 500)


def test_steps_without_an_end_are_too_slow():
    progress = PullProgress(120, {})
    with pytest.raises(TooSlow):
        for number in range(5000):
            progress.note({"status": "step %d" % number}, number * 10.0)


def test_an_attempt_that_begins_again_does_not_help():
    progress = PullProgress(120, {})
    progress.note(line(GIB), 1.0)
    assert progress.attempt_helped()
    progress.begin(10.0)
    progress.note(line(GIB), 11.0)
    assert not progress.attempt_helped()
    progress.note(line(GIB + 1024 * 1024), 12.0)
    assert progress.attempt_helped()


def test_what_is_larger_than_the_manifest_says_is_refused():
    progress = PullProgress(120, {"sha256:a": 100})
    progress.note(line(5, total=100), 0.0)
    with pytest.raises(TooLarge, match="sha256:a has 101 bytes, more than the 100 in the registry's manifest"):
        progress.note(line(5, total=101), 0.0)


def test_all_blobs_outside_the_manifest_have_one_limit():
    progress = PullProgress(120, {})
    progress.note(line(0, total=MAX_BYTES, digest="sha256:a"), 0.0)
    progress.note(line(1, total=MAX_BYTES, digest="sha256:a"), 0.0)
    with pytest.raises(TooLarge, match="more than the 4 TiB of any model"):
        progress.note(line(0, total=1, digest="sha256:b"), 0.0)


def test_blobs_without_an_end_are_refused():
    progress = PullProgress(120, {})
    with pytest.raises(TooLarge, match="more than 1000 blobs"):
        for number in range(2000):
            progress.note(line(0, total=1, digest="sha256:%d" % number), 0.0)
