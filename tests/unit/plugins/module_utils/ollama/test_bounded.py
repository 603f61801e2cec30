# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Answers that never end, are too large or nest too deep are given up."""

from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import bounded
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.bounded import TookTooLong, TooMuch


class Answer:
    """An answer of requests that comes in these parts."""

    def __init__(self, *parts):
        self.parts, self.closed = parts, False

    def iter_content(self, _size):
        yield from self.parts

    def close(self):
        self.closed = True


def test_work_within_its_time():
    assert bounded.within(60, lambda: 7) == 7
    with pytest.raises(KeyError):
        bounded.within(60, lambda: {}["x"])
    begin = time.monotonic()
    with pytest.raises(TookTooLong):
        bounded.within(0.1, threading.Event().wait)
    assert time.monotonic() - begin < 30


def test_a_body_of_limited_size():
    answer = Answer(b"ab", b"c")
    assert bounded.body(answer, 3) == b"abc" and answer.closed
    answer = Answer(b"ab", b"cd")
    with pytest.raises(TooMuch, match="is larger than"):
        bounded.body(answer, 3)
    assert answer.closed


def test_lines_of_limited_length():
    assert list(bounded.lines(Answer(b"a\nb", b"c\n\nd"))) == [b"a", b"bc", b"", b"d"]
    with pytest.raises(TooMuch, match="has a line of more than"):
        list(bounded.lines(Answer(*[b"x"] * 20), 10))


@pytest.mark.parametrize(
    "raw, words",
    [
        (b"no", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nests more than 32 levels"),
        (b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", "nests more than 32 levels"),
        (b'{"a":[' + b"[]," * 1000000 + b"[]]}", "more than 1000000 objects"),
    ],
)
def test_what_is_no_answer(raw, words):
    with pytest.raises(ValueError, match=words):
        bounded.parse_object(raw)


def test_a_real_answer_is_read():
    assert bounded.parse_object(b'{"a": [{"b": [1, 2]}], "c": "x"}') == {"a": [{"b": [1, 2]}], "c": "x"}
