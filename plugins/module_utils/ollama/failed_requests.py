# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Exceptions of requests in words: their own texts are representations of exceptions within each other."""

from __future__ import annotations

from typing import Any

REFUSED = "connection refused"
#: Part of the text of an exception -> what it says.
_PHRASES = (
    ("Connection refused", REFUSED),
    ("Name or service not known", "its host name is unknown"),
    ("nodename nor servname", "its host name is unknown"),
    ("Temporary failure in name resolution", "its host name cannot be resolved"),
    ("No route to host", "no route to the host"),
    ("Network is unreachable", "the network is unreachable"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
    ("WRONG_VERSION_NUMBER", "it uses plain http, not https"),
    ("ConnectTimeout", "the connection timed out"),
    ("connect timeout", "the connection timed out"),
    ("Read timed out", "it sent nothing more"),
    ("Connection reset", "the connection was reset"),
    ("RemoteDisconnected", "the connection was closed without an answer"),
    ("IncompleteRead", "the connection was closed in the middle of the answer"),
    ("Response ended prematurely", "the connection was closed in the middle of the answer"),
)
#: Exceptions within each other that are looked into at most.
_MOST_LEVELS = 6


def phrase(error: Exception) -> str:
    """Return a short phrase for an exception of requests: "connection refused"."""
    text = str(error)
    return next((words for part, words in _PHRASES if part in text), None) or innermost(error)


def innermost(error: Exception) -> str:
    """Return the first line of the text of the innermost reason of an exception of requests."""
    reason: Any = error
    for _level in range(_MOST_LEVELS):
        inner = getattr(reason, "reason", None) or (
            reason.args[0] if getattr(reason, "args", None) and isinstance(reason.args[0], Exception) else None
        )
        if not isinstance(inner, Exception):
            break
        reason = inner
    lines = str(reason).rpartition("> ")[2].splitlines()
    return lines[0] if lines else type(reason).__name__
