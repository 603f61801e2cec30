# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes, durations and numbers of things in words, for messages only; data stays in bytes and seconds. Pure."""

from __future__ import annotations

import re
from typing import Any, Optional, Union

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SECONDS = re.compile(r"-?[0-9]+\Z")
_GO_DURATION = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+\Z")


def gib(size: Optional[float], unknown: str = "an unknown amount") -> str:
    """Return a size in bytes as people read it: "46.9 GiB" or "214 MiB".

    Args:
        size: bytes, or None.
        unknown: the words for None.
    """
    if size is None:
        return unknown
    # What would be rounded to 1024 MiB is a GiB.
    return "%.1f GiB" % (size / GIB) if round(size / MIB) >= KIB else mib(size)


def mib(size: Optional[float], unknown: str = "unknown") -> str:
    """Return a size in bytes in MiB, for tables: "48012 MiB".

    Args:
        size: bytes, or None.
        unknown: the words for None.
    """
    return unknown if size is None else "%d MiB" % round(size / MIB)


def counted(count: int, word: str) -> str:
    """Return how many things there are: "1 host", "3 hosts".

    Args:
        count: how many.
        word: for one of them.
    """
    return "%d %s%s" % (count, word, "" if count == 1 else "s")


def duration(value: Any) -> Union[int, str, None]:
    """Return a duration as Ollama's API takes it, None where the value is none.

    Returns:
        Whole seconds as a number, also those given as text (the API does not take the text "-1"); a duration as Go
        writes it as text ("1h30m"). A negative one stands for ever.
    """
    text = str(value).strip()
    if isinstance(value, bool):
        return None
    if _SECONDS.match(text):
        return int(text)
    return text if _GO_DURATION.match(text) else None


def is_zero(length: Union[int, str]) -> bool:
    """Return whether a duration is no time at all: 0, "0s", "0h0m"."""
    return not re.search("[1-9]", str(length))
