# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Print what a command answers: for people, as JSON, or into the journal with the level of each line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from ..common.printable import printable
from .shapes import Line

#: Servers name models, and a server may lie: longer lines and more of them help nobody. A finding of a diagnosis has
#: up to 500 characters, and more where several processes are named.
_LONGEST, _MOST_LINES = 1000, 300
#: Longest text and list in data that is printed or kept.
_LONGEST_TEXT, _MOST_ENTRIES = 2000, 5000


def print_lines(lines: Sequence[Line], stream: TextIO, into_journal: bool) -> None:
    """Print lines for people.

    Args:
        lines: those of an answer.
        stream: where to.
        into_journal: whether each line begins with its level in the form of sd-daemon(3), "<3>".
    """
    shown = list(lines[:_MOST_LINES])
    if len(lines) > len(shown):
        shown.append(Line("(%d more lines)" % (len(lines) - len(shown))))
    for line in shown:
        prefix = "<%d>" % line.level if into_journal else ""
        stream.write("%s%s\n" % (prefix, printable(line.text)[:_LONGEST]))
    stream.flush()


def print_text(text: str, stream: TextIO) -> None:
    """Print what a program reads, in UTF-8 whatever the language of the terminal is."""
    stream.flush()
    binary = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(text)
    else:
        binary.write(text.encode("utf-8", "replace"))
        binary.flush()


def print_data(data: Any, stream: TextIO) -> None:
    """Print data as JSON, with an escape for each character beyond ASCII."""
    stream.write(json.dumps(clipped(data), indent=2, sort_keys=True) + "\n")
    stream.flush()


def clipped(data: Any) -> Any:
    """Return data with its texts and lists cut to a length that real ones do not have."""
    if isinstance(data, str):
        return data if len(data) <= _LONGEST_TEXT else data[:_LONGEST_TEXT] + " (cut)"
    if isinstance(data, Mapping):
        return {clipped(key): clipped(value) for key, value in list(data.items())[:_MOST_ENTRIES]}
    if isinstance(data, (list, tuple)):
        return [clipped(value) for value in data[:_MOST_ENTRIES]]
    return data


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether a stream leads to the journal: systemd names the one that it has connected in JOURNAL_STREAM."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == "%d:%d" % (status.st_dev, status.st_ino)
