# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Environment variables as systemd writes and reads them: environment files and the property Environment. Pure.

Sources: systemd.exec(5), EnvironmentFile=; systemd 252 src/basic/env-file.c (files), src/basic/escape.c
(shell_maybe_quote, which `systemctl show` writes the property with).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

#: What a backslash protects inside double quotes; before anything else it stands for itself (SHELL_NEED_ESCAPE).
ESCAPED = '"\\`$'

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SPACE = " \t\r"


def parse(text: str) -> Dict[str, str]:
    """Parse an environment file.

    Without quotes, white space around a value goes (`A=b c` is `b c`); a backslash keeps the character after it, and
    joins lines at their end. In single quotes all is literal; in double quotes a backslash is an escape before
    " \\ ` $ only. Lines that start with # or ; are comments. What is no assignment is left out.
    """
    variables: Dict[str, str] = {}
    position = 0
    while position < len(text):
        start = position
        while start < len(text) and text[start] in _SPACE + "\n":
            start += 1
        if start >= len(text):
            break
        newline, equals = text.find("\n", start), text.find("=", start)
        end = len(text) if newline < 0 else newline
        if text[start] in "#;" or not 0 <= equals < end:
            position = end + 1
            continue
        name = text[start:equals].strip()
        value, position = _value(text, equals + 1)
        if _NAME.match(name):
            variables[name] = value
    return variables


def parse_property(text: str) -> Dict[str, str]:
    """Parse the property Environment of `systemctl show`: assignments on one line, in double quotes where needed."""
    return dict(word.split("=", 1) for word in _words(text) if "=" in word)


def value_text(value: Any) -> str:
    """Return the text of a value of a variable: 1 and 0 for true and false, as Ollama reads them."""
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def quote(value: Any) -> str:
    """Return a value in double quotes, as `parse` and systemd read it back unchanged.

    Raises:
        ValueError: a control character other than a tab, which no environment file can carry, or text that is not
            valid UTF-8. One sentence.
    """
    text = str(value)
    bad = [character for character in text if ord(character) < 32 and character != "\t" or ord(character) == 127]
    if bad:
        raise ValueError(
            "A value of the services' environment holds the control character %r, which no environment file can carry: "
            "remove it." % bad[0]
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("A value of the services' environment is not valid UTF-8 text: correct it.")
    return '"%s"' % "".join("\\" + character if character in ESCAPED else character for character in text)


def environment_file(variables: Mapping[str, Any]) -> str:
    """Return the text of an environment file with these variables, sorted by name.

    Raises:
        ValueError: see `quote`.
    """
    return "".join("%s=%s\n" % (name, quote(variables[name])) for name in sorted(variables))


def _value(text: str, position: int) -> Tuple[str, int]:
    """Return the value that starts at `position`, and the position after its line."""
    result: List[str] = []
    kept = 0  # how much of the result came from quotes or escapes and is no white space to strip
    quoted: Optional[str] = None
    while position < len(text) and (quoted or text[position] != "\n"):
        character, following = text[position], text[position + 1 : position + 2]
        position += 1
        if quoted is None and character in "'\"":
            quoted = character
            kept = len(result)
        elif character == quoted:
            quoted = None
            kept = len(result)
        elif character == "\\" and quoted != "'":
            if following == "\n":
                position += 1
            elif quoted is None or following and following in ESCAPED:
                result.append(following)
                position += 1
                kept = len(result)
            else:
                result.append(character)
        elif quoted is None and not result and not kept and character in _SPACE:
            continue
        else:
            result.append(character)
    value = "".join(result)
    return value[:kept] + value[kept:].rstrip(_SPACE), position + 1


def _words(text: str) -> List[str]:
    """Return the words of a line, some of them in double quotes; [] where a quote is never closed."""
    words: List[str] = []
    word: Optional[str] = None
    quoted = False
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == '"':
            quoted, word = not quoted, word or ""
        elif character == "\\" and position < len(text) and (not quoted or text[position] in ESCAPED):
            word = (word or "") + text[position]
            position += 1
        elif character.isspace() and not quoted:
            words, word = words + ([] if word is None else [word]), None
        else:
            word = (word or "") + character
    if quoted:
        return []
    return words + ([] if word is None else [word])
