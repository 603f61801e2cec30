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
    """Return whether there is an entry and what was pulled under its name has the pinned digest; "" is no pin."""
    if entry is None or "pulled_digest" in entry and not entry["pulled_digest"]:
        return False
    return not pin or pulled_digest(entry) == normalise_digest(pin)


def pulled_digest(entry: dict[str, Any]) -> str | None:
    """Return the digest of what was pulled under a name, None where it has none.

    Args:
        entry: of host_info or /api/tags. Where the name was given to another model since, it has `pulled_digest`, None
            where what was pulled is not complete any more.
    """
    digest = entry.get("pulled_digest", entry.get("digest"))
    try:
        return normalise_digest(digest)
    except InvalidName:
        return None


def find_loaded(server: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the entry of a loaded model, None where there is none.

    A server lists a model by the name under which it was loaded, also where that name, an alias, names another model by
    now: then the same manifest tells.

    Args:
        server: of module server_info.
        name: of the model.
    """
    found = find(server.get("loaded"), name)
    wanted = _digest(find(server.get("models"), name) or {})
    for entry in (server.get("loaded") or []) if found is None and wanted is not None else ():
        if _digest(entry) == wanted:
            return entry
    return found


def _digest(entry: dict[str, Any]) -> str | None:
    return pulled_digest({"digest": entry.get("digest")})
