# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Texts of a host in Markdown: what they hold is text, and neither markup nor a link nor a reference. Pure.

GitHub and GitLab look for references (@name, #12, !12, ~label, %milestone) in the text that Markdown has become, where
an escape is gone. A character of no width after the sign keeps a name from being notified; code is left alone by both.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable

#: What a backslash makes plain in CommonMark, section 2.4: all ASCII punctuation. A comma, a quote and the like never
#: begin anything.
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+\-.!|<>~&@$:=^%/]")
_REFERENCE = re.compile(r"[@#!~$%&^](?=\w)")
_NO_WIDTH = "\u200b"
_TICKS = re.compile(r"`+")


def escaped(text: Any) -> str:
    """Return a text in one line that Markdown shows as it is.

    Args:
        text: A text, or another value to write as one.
    """
    found: list[str] = []
    plain = printable(text)
    for number, character in enumerate(plain):
        found.append("\\" + character if _is_markup(plain, number) else character)
        if _REFERENCE.match(plain, number):
            found.append(_NO_WIDTH)
    return "".join(found)


def _is_markup(text: str, number: int) -> bool:
    """Whether a character needs an escape. A dot, a hyphen, a slash, a sign of equality or an underscore inside of a
    word begins nothing, but for the names of servers, which become links."""
    character = text[number]
    if not _MARKUP.match(character):
        return False
    before, after = text[number - 1 : number], text[number + 1 : number + 2]
    if character in "-=/":
        return not (before.isalnum() and after.isalnum())
    if character == ".":
        return not (before.isdigit() and after.isdigit())
    return True


def code(text: Any) -> str:
    """Return a text in one line as code, also for a cell of a table.

    Args:
        text: A text, or another value to write as one.
    """
    plain = printable(text)
    if not plain.strip():
        return "` `"
    fence = "`" * (1 + max(map(len, _TICKS.findall(plain)), default=0))
    space = " " if plain[0] in "` " or plain[-1] in "` " else ""
    return "%s%s%s%s%s" % (fence, space, plain, space, fence)


def cell(markdown: str) -> str:
    """Return Markdown of one line for a cell of a table, where a bar ends the cell even in code.

    Args:
        markdown: Of `escaped` and `code`.
    """
    return re.sub(r"(?<!\\)((?:\\\\)*)\|", r"\1\\|", markdown)
