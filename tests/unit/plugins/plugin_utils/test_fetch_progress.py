# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lines about long downloads: not too many of them, and nothing that a host made up."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fetch_progress import Progress, read

GIB = 1024**3


def record(completed, total=10 * GIB, name="llama3.1:8b", **more):
    return read(json.dumps(dict({"pid": 7, "models": {name: {"completed": completed, "total": total}}}, **more)))


def test_a_line_has_percentage_rate_and_time_left():
    progress = Progress("node1")
    assert list(progress.lines(record(GIB), 100.0)) == ["node1: llama3.1:8b 10 % of 10.0 GiB"]
    assert list(progress.lines(record(GIB + 1), 101.0)) == []
    assert list(progress.lines(record(3 * GIB), 120.0)) == [
        "node1: llama3.1:8b 30 % of 10.0 GiB, 102.4 MiB/s, 1 min left"
    ]
    assert list(progress.lines(record(3 * GIB), 149.0)) == []
    (line,) = progress.lines(record(3 * GIB), 151.0)
    assert line.endswith("2 min left"), "it is slow, and still said"
    assert list(progress.lines(record(10 * GIB), 152.0)) == ["node1: llama3.1:8b 100 % of 10.0 GiB"]
    assert list(progress.lines(record(10 * GIB), 999.0)) == []


def test_what_was_there_before_does_not_count_as_fast():
    """A download that goes on begins with what it has."""
    progress = Progress("node1")
    list(progress.lines(record(9 * GIB), 0.0))
    (line,) = progress.lines(record(9 * GIB + GIB // 10), 100.0)
    assert "1.0 MiB/s, 15 min left" in line


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"models": []}', '{"models": {"a": 1}}', "[" * 100000]
    + [
        json.dumps({"models": {name: {"completed": done, "total": total}}})
        for name, done, total in (
            ("a", 2, 1),
            ("a", -1, 1),
            ("a", 0, 0),
            ("a", True, 2),
            ("a", 1.5, 2),
            ("a", 0, 2**70),
        )
    ]
    + [json.dumps({"pid": "1; reboot", "models": {"\x1b[2J": {"completed": 1, "total": 2}}})],
)
def test_what_a_host_makes_up_is_left_out(text):
    assert read(text) == {"pid": 0, "finished": False, "models": {}}


def test_a_record():
    assert record(1, 2, "a", finished=True) == {"pid": 7, "finished": True, "models": {"a": (1, 2)}}
