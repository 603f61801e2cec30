# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lines, bars and what terminals can show."""

from __future__ import annotations

import importlib
import io
import itertools
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import style, terminal
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import (
    Span,
    Style,
    cut,
    drawn,
    line,
    memory_bar,
)

from tests.unit.plugins.plugin_utils.colour_vision import VISIONS, distance, of_terminal


def test_words_stay_whole():
    digest = "sha256:" + "0" * 64
    lines = drawn(
        Style(width=40), style.sentence(Style(width=40), "The digest is %s now." % digest, "  why ", "      ")
    )
    assert lines == ["  why The digest is", "      " + digest, "      now."]


@pytest.mark.parametrize(
    "text, most, short", [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("a\nb", 9, "a\\nb")]
)
def test_texts_are_cut_by_columns(text, most, short):
    assert cut(text, most) == short


def test_a_text_of_a_liar_is_cut_at_once():
    assert len(cut("x" * 10**7, 20)) == 20


@pytest.mark.parametrize(
    "parts, total, expected",
    [
        ([("weights", 50), ("kv", 25)], 100, "#####==..."),
        ([("weights", 1), ("kv", 1)], 1000, "#=........"),
        ([("weights", 96), ("kv", 2), ("compute", 2)], 100, "########=+"),
        ([("weights", 300)], 100, "##########"),
        ([("weights", 0)], 0, ".........."),
        ([("weights", -5), ("kv", 10**30)], 100, "=========="),
    ],
)
def test_bars(parts, total, expected):
    ascii_style = Style(unicode=False)
    assert drawn(ascii_style, [memory_bar(ascii_style, parts, total, 10)]) == [expected.rstrip()]


def test_colours_are_only_where_they_are_asked_for():
    one = [line(Span("bad", "bad"), " x")]
    assert drawn(Style(), one) == ["bad x"] and drawn(Style(colour=True), one)[0].startswith(
        "\x1b[1;38;5;166mbad\x1b[0m"
    )


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_beside_each_other_are_apart_for_everybody(vision):
    """Parts of a bar, and states; what is free has the colour of the terminal."""
    for roles in (("weights", "kv", "compute", "others"), ("good", "bad", "note")):
        coded = drawn(Style(colour=True), [line(Span("x", role)) for role in roles])
        numbers = [int(re.search(r"38;5;(\d+)m", text)[1]) for text in coded]
        for one, other in itertools.combinations(map(of_terminal, numbers), 2):
            assert distance(one, other, vision) >= 15, (roles, one, other)


def test_colours_of_terminals_are_those_of_xterm():
    assert [of_terminal(number) for number in (16, 32, 214, 231, 232, 255)] == [
        *("#000000", "#0087d7", "#ffaf00", "#ffffff"),
        *("#080808", "#eeeeee"),
    ]


def test_without_unicode_everything_is_ascii():
    assert drawn(Style(unicode=False), [line("… → é")]) == ["~ -> \\xe9"]


@pytest.mark.parametrize("encoding, unicode", [("utf-8", True), ("UTF8", True), ("latin-1", False), ("ascii", False)])
@pytest.mark.parametrize("columns, width", [("", 80), ("132", 132), ("20", 40), ("9999", 160), ("x", 80)])
def test_the_terminal(monkeypatch, encoding, unicode, columns, width):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.__stdout__", None)
    monkeypatch.setenv("COLUMNS", columns)
    try:
        found = importlib.reload(terminal).terminal_style()
    finally:
        monkeypatch.undo()
        importlib.reload(terminal)
    assert (found.width, found.unicode, found.details) == (width, unicode, False)
