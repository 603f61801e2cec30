# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Environment variables as systemd reads and shows them. Pure, apart from `effective`, which reads the files that systemd names."""

from __future__ import annotations

import re
import shlex

_FILE = re.compile(r"(?P<path>/.*?) \(ignore_errors=(?:yes|no)\)(?: |$|\n)")


def effective(properties):
    """Return the environment that a unit would set now: Environment=, then its EnvironmentFile= in their order.

    `properties`: of `systemctl show` (there specifiers such as %i are resolved); a file that cannot be read counts as empty.
    """
    variables = shown(properties.get("Environment", ""))
    for path in _FILE.findall(properties.get("EnvironmentFiles", "") + "\n"):
        try:
            with open(path, "r", encoding="utf-8", errors="surrogateescape") as handle:
                variables.update(parse_file(handle.read()))
        except OSError:
            continue
    return variables


def shown(text):
    """Parse the property Environment of `systemctl show`: assignments, quoted where they have to be, on one line."""
    try:
        words = shlex.split(text)
    except ValueError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def parse_file(text):
    """Parse an environment file as systemd does (systemd.exec(5), EnvironmentFile=; src/basic/env-file.c).

    Without quotes white space around a value goes; a backslash keeps the character after it, and joins lines at their end. In single quotes all
    is literal; in double quotes a backslash is an escape before " \\ ` $ only. Lines that start with # or ; are comments.
    """
    variables, position = {}, 0
    while position < len(text):
        start = re.compile(r"[ \t\r\n]*").match(text, position).end()
        if start >= len(text):
            break
        if text[start] in "#;":
            end = text.find("\n", start)
            position = len(text) if end < 0 else end + 1
            continue
        equals, newline = text.find("=", start), text.find("\n", start)
        if equals < 0 or 0 <= newline < equals:
            position = len(text) if newline < 0 else newline + 1
            continue
        name = text[start:equals].strip()
        value, position = _value(text, equals + 1)
        if re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", name):
            variables[name] = value
    return variables


def _value(text, position):
    """Return (value, position behind its line) of the value that starts at `position`."""
    result, kept = [], 0  # `kept`: how much of the result came from quotes or escapes and is no white space to strip
    quote = None
    while position < len(text) and (quote or text[position] != "\n"):
        character, following = text[position], text[position + 1 : position + 2]
        position += 1
        if quote is None and character in "'\"":
            quote = character
            kept = len(result)
        elif character == quote:
            quote = None
            kept = len(result)
        elif character == "\\" and quote != "'":
            if following == "\n":
                position += 1
            elif quote is None or following in ('"', "\\", "`", "$"):
                result.append(following)
                position += 1
                kept = len(result)
            else:
                result.append(character)
        elif quote is None and not result and not kept and character in " \t\r":
            continue
        else:
            result.append(character)
    value = "".join(result)
    return value[:kept] + value[kept:].rstrip(" \t\r"), position + 1
