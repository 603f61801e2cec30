# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Texts of a host in a form that a terminal prints: a host may send escape sequences. Pure."""

from __future__ import annotations

from typing import Any


def is_harmless(character: str) -> bool:
    """Return whether a character can be sent to a terminal: one that is printed, an end of a line, a tabulator, or half
    of a character beyond 16 bits."""
    return character.isprintable() or character in "\t\n\r" or "\ud800" <= character <= "\udfff"


def printable(text: Any) -> str:
    """Return a text in one line, in which every character that is not printed is an escape such as "\\x1b".

    Args:
        text: A text, or another value to write as one.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
