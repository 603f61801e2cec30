# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is printed is bounded, and is nothing that a terminal obeys."""

from __future__ import annotations

import io
import json

from ansible_collections.gpufleet.ollama.plugins.module_utils.program import output
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import ERROR, Line


def printed(lines, into_journal=False):
    stream = io.StringIO()
    output.print_lines(lines, stream, into_journal)
    return stream.getvalue()


def test_a_line_is_one_line_with_one_level():
    assert printed([Line("a\n<6>b", ERROR)], into_journal=True) == "<3>a\\n<6>b\n"
    assert printed([Line("a", ERROR)]) == "a\n"


def test_lines_are_bounded():
    text = printed([Line("x" * 10**6)] * 1000)
    assert len(text) < 10**6 and "700 more lines" in text


def test_data_is_bounded_and_ascii():
    stream = io.StringIO()
    output.print_data({"name": "\x1b[2J" + "x" * 10**6, "list": list(range(10**5)), "none": None, "ok": True}, stream)
    assert stream.getvalue().isascii() and "\x1b" not in stream.getvalue()
    data = json.loads(stream.getvalue())
    assert len(data["name"]) < 3000 and len(data["list"]) == 5000 and data["none"] is None and data["ok"] is True


def test_a_stream_without_a_file_is_no_journal():
    assert not output.is_journal(io.StringIO(), {"JOURNAL_STREAM": "8:1"})
