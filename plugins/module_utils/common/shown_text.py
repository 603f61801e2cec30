# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The content of a file as everybody may read it: environment files, unit files and their drop-ins, JSON files. Pure.

Line by line, because a difference is shown by line. Which values are secret is in common/secrets.py.
"""

from __future__ import annotations

import re
from typing import Tuple

from . import environment_file, secrets

_SECTION = re.compile(r"^\s*\[\w+\]\s*$", re.MULTILINE)
_CONTINUED = re.compile(r"(?:[^\n]*\\\n)*[^\n]*(?:\n|\Z)")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)\Z", re.DOTALL)
# Directives of systemd whose values are secrets by what they are for.
_CREDENTIAL = re.compile(r"SetCredential", re.IGNORECASE)
# NAME=value inside a line, and "name": "value" of a JSON file.
_WORD = re.compile(r"\b([A-Z][A-Z0-9_]*)=(\"[^\"]*\"|'[^']*'|\S+)")
_MEMBER = re.compile(r"(\"(\w+)\": )(\"(?:[^\"\\]|\\.)*\")")


def shown_text(text: str) -> str:
    """Return the content of a file with HIDDEN in the place of secret values."""
    is_unit = _SECTION.search(text) is not None
    return "".join(_shown_line(line, is_unit) for line in _CONTINUED.findall(text))


def shown_difference(before: str, after: str) -> Tuple[str, str]:
    """Return two contents as everybody may read them; a difference that only secret values have is said in words."""
    pair = shown_text(before), shown_text(after)
    if before != after and pair[0] == pair[1]:
        return pair[0], pair[1] + "(a value that is not shown has changed)\n"
    return pair


def _shown_line(line: str, is_unit: bool) -> str:
    """A line, with those that it continues on."""
    body, end = (line[:-1], "\n") if line.endswith("\n") else (line, "")
    found = _ASSIGNMENT.match(body)
    if found and not body.lstrip().startswith(("#", ";")):
        name, value = found.group(1), found.group(2)
        start = body[: len(body) - len(value)] if value else body
        if is_unit and name == "Environment":
            return start + _shown_words(value) + end
        if is_unit and _CREDENTIAL.match(name):
            return start + secrets.HIDDEN + end
        if not is_unit:
            plain = environment_file.parse(body.strip()).get(name, value)
            return (start + secrets.HIDDEN if secrets.is_secret(name, plain) else body) + end
    body = _WORD.sub(_shown_word, body)
    body = _MEMBER.sub(_shown_member, body)
    return secrets.without_credentials(body) + end


def _shown_words(text: str) -> str:
    """The value of Environment= in a unit file."""
    variables = environment_file.parse_property(text.replace("\\\n", " "))
    if not variables:
        return secrets.HIDDEN if text.strip() else text
    if secrets.shown_environment(variables) == variables:
        return text
    return " ".join('"%s=%s"' % (name, secrets.shown(name, value)) for name, value in variables.items())


def _shown_word(match: "re.Match[str]") -> str:
    return "%s=%s" % (match.group(1), secrets.HIDDEN) if secrets.says_secret(match.group(1)) else match.group(0)


def _shown_member(match: "re.Match[str]") -> str:
    return '%s"%s"' % (match.group(1), secrets.HIDDEN) if secrets.says_secret(match.group(2)) else match.group(0)
