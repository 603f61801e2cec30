# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Sentences about long loads: what is known, not too many of them, and nothing that a host made up."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.load_progress import LoadSentences, read

GIB = 1024**3


def record(seconds, name="gpu0-1/llama4:16x17b", finished=False, **numbers):
    return read(json.dumps({"pid": 7, "finished": finished, "models": {name: dict(numbers, seconds=seconds)}}))


@pytest.mark.parametrize(
    "numbers, words",
    [
        ({}, ""),
        ({"total_bytes": 62 * GIB}, " (its file has 62.0 GiB)"),
        ({"total_bytes": 62 * GIB, "read_bytes": 0, "disk_bytes": 0}, " (its file has 62.0 GiB)"),
        (
            {"total_bytes": 62 * GIB, "read_bytes": 38 * GIB, "disk_bytes": 30 * GIB},
            ": about 38.0 GiB of 62.0 GiB read, 30.0 GiB of it from disk",
        ),
        ({"total_bytes": 62 * GIB, "read_bytes": 38 * GIB, "disk_bytes": 0}, ": about 38.0 GiB of 62.0 GiB read"),
        ({"total_bytes": 62 * GIB, "read_bytes": 62 * GIB, "disk_bytes": 0}, ": its whole file of 62.0 GiB is read"),
    ],
)
def test_a_sentence_says_what_is_known(numbers, words):
    progress = LoadSentences()
    assert list(progress.sentences(record(5, **numbers), 100.0)) == []
    (text,) = progress.sentences(record(10, **numbers), 105.0)
    assert text == "loading llama4:16x17b on gpu0-1, 10 s so far" + words


def test_there_are_not_too_many():
    progress, told = LoadSentences(), []
    for seconds in range(0, 200, 5):
        numbers = {"total_bytes": 100 * GIB, "read_bytes": min(seconds, 50) * GIB, "disk_bytes": 0}
        told += progress.sentences(record(seconds, **numbers), 1000.0 + seconds)
    read_at = [text.split(" s so far: about ")[0].rsplit(" ", 1)[-1] for text in told]
    assert read_at == ["5", "15", "25", "35", "45", "75", "105", "135", "165", "195"], "10 %, then each 30 s"


def test_an_earlier_run_says_nothing_of_this_one():
    """A module that was killed leaves its record."""
    progress = LoadSentences()
    assert [list(progress.sentences(record(41), 100.0 + 5 * look)) for look in range(20)] == [[]] * 20
    assert record(41, finished=True) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", '{"models": []}', '{"models": {"gpu0/a": 1}}', "[" * 100000]
    + [
        json.dumps({"models": {name: numbers}})
        for name, numbers in (
            ("gpu0/a", {}),
            ("gpu0/a", {"seconds": -1}),
            ("gpu0/a", {"seconds": "1"}),
            ("gpu0/a", {"seconds": True}),
            ("gpu0/a", {"seconds": 1, "total_bytes": 2**70}),
            ("gpu0/a", {"seconds": 1, "read_bytes": 1.5}),
            ("a", {"seconds": 1}),
            ("\x1b[2J/a", {"seconds": 1}),
            ("gpu0/\x1b[2J", {"seconds": 1}),
            ("gpu0\n/a", {"seconds": 1}),
        )
    ],
)
def test_what_a_host_makes_up_is_left_out(text):
    assert read(text) == {}
