# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How lines are drawn: their width, characters and colours. Pure.

A line is a tuple of spans until it is drawn, so that its length does not count colours, and so that every text of a
host becomes harmless in one place.
"""

from __future__ import annotations

import dataclasses
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable

#: Below this, tables lose their sense.
NARROWEST = 40
_LONGEST_KEY = 60
#: Texts that are longer are not for people.
_LONGEST_TEXT = 20000
#: Words that name what a span is -> colour of a terminal (SGR). They differ for people with each kind of colour
#: blindness; what they tell is also told by characters and words.
_COLOURS = {
    "weights": "38;5;32",
    "kv": "38;5;214",
    "compute": "38;5;114",
    "others": "38;5;245",
    "free": "2",
    "title": "1",
    "label": "2",
    "good": "38;5;36",
    "bad": "1;38;5;166",
    "note": "38;5;178",
}
#: What a part of memory is drawn with, and in ASCII.
_CHARACTERS = {"weights": ("█", "#"), "kv": ("▓", "="), "compute": ("▒", "+"), "others": ("╳", "x"), "free": ("·", ".")}
#: Characters of this collection's own sentences -> ASCII.
_IN_ASCII = {"…": "~", "·": ".", "→": "->", "×": "x"}


@dataclass(frozen=True)
class Style:
    """`width` is in columns. `details` asks for what is left out otherwise (UUIDs, parts of memory, settings)."""

    width: int = 80
    colour: bool = False
    unicode: bool = True
    details: bool = False


@dataclass(frozen=True)
class Span:
    """A piece of a line; `role` is a key of the colours, "" for none."""

    text: str
    role: str = ""


Line = tuple[Span, ...]


def without_colour(style: Style) -> Style:
    """Return the style as a file takes it."""
    return dataclasses.replace(style, colour=False)


def line(*parts: Any) -> Line:
    """Return a line of texts and spans."""
    return tuple(part if isinstance(part, Span) else Span(str(part)) for part in parts)


def drawn(style: Style, lines: Iterable[Line]) -> list[str]:
    """Return lines as a terminal takes them: without control characters, in the colours and characters that it has."""
    return [_drawn(style, one) for one in lines]


def drawing(lines: Sequence[Line]) -> list[list[list[str]]]:
    """Return lines as JSON, so that they can be drawn elsewhere."""
    return [[[span.text, span.role] for span in one] for one in lines]


def undrawn(data: Iterable[Any]) -> list[Line]:
    """Return the lines of a drawing."""
    return [tuple(Span(str(text), str(role)) for text, role in one) for one in data]


def _drawn(style: Style, spans: Line) -> str:
    pieces = [(_shown(style, span.text), span.role) for span in spans]
    while pieces and not pieces[-1][0].strip():  # blanks at the end of a line
        pieces.pop()
    if pieces:
        pieces[-1] = (pieces[-1][0].rstrip(), pieces[-1][1])
    colours = [_COLOURS.get(role, "") if style.colour else "" for _text, role in pieces]
    return "".join(
        "\x1b[%sm%s\x1b[0m" % (colour, text) if colour and text else text
        for (text, _role), colour in zip(pieces, colours)
    )


def _shown(style: Style, text: str) -> str:
    text = printable(text)
    if style.unicode:
        return text
    for character, instead in _IN_ASCII.items():
        text = text.replace(character, instead)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def cut(text: Any, most: int) -> str:
    """Return a text of a host in at most so many columns."""
    kept, columns = "", 0
    for one in str(text):
        shown = printable(one)
        columns += columns_of(shown)
        if columns > most:
            while kept and columns_of(kept) > most - 1:
                kept = kept[:-1]
            return kept + "…"
        kept += shown
    return kept


def padded(text: str, width: int) -> str:
    """Return a text with blanks up to a width in columns."""
    return text + " " * (width - columns_of(text))


def sentence(style: Style, text: Any, first: str = "", rest: str = "", role: str = "") -> list[Line]:
    """Return the lines of a text that is broken between words.

    Words stay whole, so that paths and digests can be copied.

    Args:
        first: what the first line begins with.
        rest: what the others begin with.
        role: of the text.
    """
    broken = textwrap.wrap(
        printable(str(text)[:_LONGEST_TEXT]),
        max(style.width, NARROWEST),
        initial_indent=" " * len(first),
        subsequent_indent=" " * len(rest),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [" " * len(first)]
    lines = [line(Span(first, "label"), Span(broken[0][len(first) :], role))]
    return lines + [line(rest, Span(more[len(rest) :], role)) for more in broken[1:]]


def memory_bar(style: Style, parts: Sequence[tuple[str, int]], total: int, cells: int) -> Line:
    """Return a bar of memory. What is there at all is seen: it has at least one cell.

    Args:
        parts: (key of the characters, bytes), as they come one after the other.
        total: bytes of the whole bar. What the parts leave is free.
        cells: length of the bar in columns.
    """
    known = [(name, max(size, 0)) for name, size in parts]
    whole = max(total, sum(size for _name, size in known), 1)
    counts = {name: max(1, round(cells * size / whole)) if size else 0 for name, size in known}
    while sum(counts.values()) > cells and max(counts.values()) > 1:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    left = max(0, cells - sum(counts.values()))
    drawing = [(name, counts[name]) for name, _size in known] + [("free", left)]
    return tuple(Span(character(style, name) * count, name) for name, count in drawing if count)


def character(style: Style, name: str) -> str:
    """Return what a part of memory is drawn with."""
    return _CHARACTERS[name][0 if style.unicode else 1]


def key_of_bars(style: Style, indent: str = "  ") -> list[Line]:
    """Return what the characters of bars mean: one line, two where the terminal is narrow."""
    words = {"weights": "weights", "kv": "KV cache", "compute": "compute", "others": "others", "free": "free"}
    spans = [(Span(character(style, name), name), Span(" %s   " % word)) for name, word in words.items()]
    rows = [spans] if style.width >= _LONGEST_KEY else [spans[:3], spans[3:]]
    return [line(indent, *(span for pair in row for span in pair)) for row in rows]
