# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Differences as people read them in diff mode, in the form that Ansible takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: So many lines of a text that is new, or gone, are shown without -v.
LONGEST_NEW = 10


def differences(entries: Iterable[tuple[str, Any, Any]], together: str, details: bool) -> list[dict[str, str]]:
    """Return the differences of several things.

    Each text has one, which names all things with this text before and after. What is no text, or is only counted,
    shares one with a line for each thing.

    Args:
        entries: (name, before, after) of each: texts, or dictionaries of attributes.
        together: what has no text, for the header.
        details: whether to show long texts that are new, or gone. They are those of the role, and not what a user has
            to look at.
    """
    found: dict[tuple[str, str], list[str]] = {}
    states: tuple[list[str], list[str]] = ([], [])
    for name, before, after in entries:
        if isinstance(before, str) or isinstance(after, str):
            texts = (before if isinstance(before, str) else "", after if isinstance(after, str) else "")
            counts = [len(text.splitlines()) for text in texts]
            if details or 0 not in counts or max(counts) <= LONGEST_NEW:
                found.setdefault(texts, []).append(name)
                continue
            words = ["%d lines, which -v shows" % count if count else "" for count in counts]
        else:
            words = [_in_words(state or {}) for state in (before, after)]
        for lines, said in zip(states, words):
            lines += ["%s: %s\n" % (name, said)] if said else []
    told = [_difference(", ".join(names), *texts) for texts, names in found.items()]
    if states[0] or states[1]:
        told.append(_difference(together, *map("".join, states)))
    return told


def value_in_words(value: Any) -> str:
    """Return the value of a setting in plain words. None is what nothing sets."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not set" if value is None else str(value)


def _difference(header: str, before: str, after: str) -> dict[str, str]:
    return dict(before=before, after=after, before_header=header, after_header=header)


def _in_words(state: Mapping[str, Any]) -> str:
    """{"state": "directory", "mode": "0755"} as "directory, mode 0755"; "" for what is not there."""
    if state.get("state") == "absent":
        return ""
    return ", ".join(_attribute(key, value) for key, value in state.items() if value is not None)


def _attribute(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return key if value else "not %s" % key
    return str(value) if key == "state" else "%s %s" % (key.replace("_", " "), value)
