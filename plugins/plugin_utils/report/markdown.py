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

#: What begins markup wherever it stands, by CommonMark and GitHub's additions (tables, struck text, formulas). An
#: address becomes a link by its "://" or its "www.", and an entity has a name or a number. What only a bracket, a line
#: or a word before it makes markup needs nothing where that has its escape.
_MARKUP = re.compile(r"[\\`*_\[\]<~$|]|&(?=[#\w])|:(?=/)|(?<=www)\.", re.IGNORECASE)
#: What begins a title, an entry of a list, a quotation or a line below a title at the begin of a text.
_AT_THE_BEGIN = re.compile(r"[-+#>=]|(?<=\d)[.)]")
_BEGIN = re.compile(r"\s*(?:[-+#>=]+|\d+[.)])")
#: Also an address of mail, which is looked for once escapes are gone (postprocess_text of cmark-gfm).
_REFERENCE = re.compile(r"@|[#!~$%&^](?=\w)")
_NO_WIDTH = "\u200b"
_TICKS = re.compile(r"`+")


def escaped(text: Any) -> str:
    """Return a text in one line that Markdown shows as it is.

    Args:
        text: A text, or another value to write as one.
    """
    plain = printable(text)
    begin = _BEGIN.match(plain)
    found: list[str] = []
    for number, character in enumerate(plain):
        is_begin = begin is not None and number < begin.end() and _AT_THE_BEGIN.match(plain, number)
        found.append("\\" + character if is_begin or _MARKUP.match(plain, number) else character)
        if _REFERENCE.match(plain, number):
            found.append(_NO_WIDTH)
    return "".join(found)


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
