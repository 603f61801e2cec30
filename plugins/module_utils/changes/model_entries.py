# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models as /api/tags, /api/ps and host_info list them: entries with a name and a digest. Pure."""

from __future__ import annotations

from typing import Any

from ..common.names import InvalidName, Name, normalise_digest, parse


def find(entries: Any, name: str) -> dict[str, Any] | None:
    """Return the entry of a model, None where there is none."""
    wanted = parse(name)
    for entry in entries or []:
        parsed = parsed_name(entry)
        if parsed is not None and parsed.same(wanted):
            return entry
    return None


def parsed_name(entry: dict[str, Any]) -> Name | None:
    """Return the name of an entry, None where it is no valid one."""
    try:
        return parse(entry.get("name") or entry.get("model") or "")
    except InvalidName:
        return None


def has_digest(entry: dict[str, Any] | None, pin: str) -> bool:
    """Return whether there is an entry and it has the pinned digest; "" is no pin."""
    if entry is None or not pin:
        return entry is not None
    return bool(entry.get("digest")) and normalise_digest(entry["digest"]) == normalise_digest(pin)
