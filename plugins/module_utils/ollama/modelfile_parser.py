# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The commands of a Modelfile, by the rules of Ollama 0.32.15 (parser/parser.go, ParseFile). Pure.

The rules have not changed since 0.30.0, except for the commands (`FIRST_RELEASES`):

* A line ends with a line feed or a carriage return, and with nothing else. Blanks and tabs separate.
* A command is its name in any case, one blank or tab, and its value. After PARAMETER and MESSAGE comes a name (letters,
  digits and underscores; letters only for a role) that begins at once and ends with one blank or tab.
* A value ends with its line, without blanks around it. A value that begins with a quote or with three quotes ends with
  the first line that ends with the same. What is between two quotes of one line is left as it is.
* A comment begins with # where a command could begin. A value has no comments.
* Characters that cannot be printed are dropped: control characters, separators but the blank, and those of no width.
  The first character of a line is no exception.
"""

from __future__ import annotations

import bisect
import difflib
import re
import unicodedata
from dataclasses import dataclass

#: The commands in the order of the documentation.
COMMANDS = (
    "FROM",
    "PARAMETER",
    "TEMPLATE",
    "SYSTEM",
    "ADAPTER",
    "LICENSE",
    "MESSAGE",
    "RENDERER",
    "PARSER",
    "REQUIRES",
    "DRAFT",
)
#: Commands that older releases refuse, and the first release that has each (parser/parser.go at v0.12.0, v0.14.0 and
#: v0.30.0; from 0.23.1 on DRAFT was known and refused).
FIRST_RELEASES = {"renderer": (0, 12, 0), "parser": (0, 12, 0), "requires": (0, 14, 0), "draft": (0, 30, 0)}
ROLES = ("system", "user", "assistant")

_BLANK = re.compile(r"[ \t]")
_NEWLINE = re.compile(r"[\r\n]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_BETWEEN = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_WORD = re.compile(r"[^\r\n][A-Za-z]*")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_]*")
_ROLE = re.compile(r"[A-Za-z]*")
# Go 1.26 has the tables of Unicode 15. An older Python takes what was added since for unassigned.
_OLD_UNICODE = int(unicodedata.unidata_version.partition(".")[0]) < 15


class ModelfileError(ValueError):
    """The Modelfile cannot be understood. The text is one sentence."""


@dataclass(frozen=True)
class Command:
    """One command of a Modelfile.

    Attributes:
        name: In lower case, "model" for FROM; for PARAMETER the name of the parameter, as written. As in Ollama, what
            comes after PARAMETER is not kept apart: `PARAMETER system x` is `SYSTEM x`.
        value: Without its quotes; for MESSAGE, "role: text".
        line: Number of the line in which it begins.
    """

    name: str
    value: str
    line: int


def commands(text: str) -> list[Command]:
    """Return the commands of a Modelfile in their order.

    Args:
        text: of the Modelfile, also as read from a file in UTF-16 or with bytes that are no UTF-8 (surrogateescape).

    Raises:
        ModelfileError: a line cannot be understood, or there is no FROM.
    """
    found = _commands(decoded(text))
    if not any(command.name == "model" for command in found):
        raise ModelfileError("the Modelfile has no FROM line, so the model has no base")
    return found


def decoded(text: str) -> str:
    """Return the characters of a Modelfile as Ollama reads them.

    A byte order mark decides between UTF-8, which is the default, and UTF-16, and is no part of the text. What cannot
    be decoded becomes U+FFFD: with a mark of UTF-8 one for each byte, otherwise one for each broken sequence.
    """
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, which no file has
        raw = text.encode("utf-8", "surrogatepass")
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if raw.startswith(mark):
            return raw[2:].decode(encoding, "replace")
    if raw.startswith(b"\xef\xbb\xbf"):
        return re.sub("[\udc80-\udcff]", "\ufffd", raw[3:].decode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "replace")


def _commands(text: str) -> list[Command]:
    """Return the commands of a text."""
    line_ends = [match.end() for match in _LINE_END.finditer(text)]
    found = []
    position = _after(_BETWEEN, text, 0)
    while position < len(text):
        line = bisect.bisect_right(line_ends, position) + 1
        end = _after(_WORD, text, position)
        name = _printable(text[position:end]).lower()
        if name.upper() not in COMMANDS:
            raise ModelfileError(_unknown_command(text, position, line))
        position = _separated(text, end, line, name.upper())
        role = ""
        if name == "from":
            name = "model"
        elif name == "parameter":
            name, position = _name(_PARAMETER_NAME, text, position, line)
        elif name == "message":
            role, position = _name(_ROLE, text, position, line)
            if role not in ROLES:
                raise ModelfileError(
                    "line %d of the Modelfile has a message of %s, which is not one of %s; the role comes after one "
                    "blank and in lower case" % (line, ascii(role), ", ".join(ROLES))
                )
        value, position = _value(text, position, line)
        found.append(Command(name, "%s: %s" % (role, value) if role else value, line))
        position = _after(_BETWEEN, text, position)
    return found


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return the position after what a pattern matches at a position."""
    match = pattern.match(text, position)
    return match.end() if match else position


def _unknown_command(text: str, position: int, line: int) -> str:
    """Return what is wrong with a line that begins with no command."""
    word = re.compile(r"[^ \t\r\n]*").match(text, position).group()[:40]  # type: ignore[union-attr]
    near = difflib.get_close_matches(word.upper(), COMMANDS, 1)
    return "line %d of the Modelfile begins with %s, which is not one of %s%s" % (
        line,
        ascii(word),
        ", ".join(COMMANDS),
        "; did you mean %s?" % near[0] if near else "",
    )


def _separated(text: str, position: int, line: int, after: str) -> int:
    """Return the position after the one blank or tab that has to be at a position."""
    if not _BLANK.match(text, position):
        there = text[position : position + 1]
        raise ModelfileError(
            "line %d of the Modelfile needs a blank and a value after %s, not %s"
            % (line, ascii(after), ascii(there) if there not in ("", "\n", "\r") else "the end of the line")
        )
    return position + 1


def _name(pattern: re.Pattern[str], text: str, position: int, line: int) -> tuple[str, int]:
    """Return (name of a parameter or role, position of its value)."""
    end = _after(pattern, text, position)
    return text[position:end], _separated(text, end, line, text[position:end])


def _value(text: str, position: int, line: int) -> tuple[str, int]:
    """Return (value, position after it) of the value that begins at a position of a line."""
    start, quote = position, ""
    while True:
        newline = _NEWLINE.search(text, position)
        end = newline.start() if newline else len(text)
        current = _printable(text[position:end]).strip()
        if position == start:
            quote = re.compile('(?:"""|"|)').match(current).group()  # type: ignore[union-attr]
            closed = len(current) >= 2 * len(quote) and current.endswith(quote)
        else:
            closed = current.endswith(quote)
        if closed:
            value = _printable(text[start:end]).strip()
            return value[len(quote) : len(value) - len(quote)], end
        if not newline:
            raise ModelfileError(
                "the value that begins in line %d of the Modelfile is not closed with %s at the end of a line"
                % (line, quote)
            )
        position = newline.end()


def _printable(text: str) -> str:
    """Return a text without what Ollama drops (Go, strconv.IsPrint), with its blanks, tabs and ends of lines."""
    return "".join(
        character
        for character in text
        if character.isprintable()
        or character in "\t\r\n"
        or (_OLD_UNICODE and unicodedata.category(character) == "Cn")
    )
