# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether a loaded model is the one in the store and stays loaded, from what a server lists. Pure."""

from __future__ import annotations

import datetime
import re
from typing import Any

from ..common.names import InvalidName, normalise_digest

_FOR_EVER_YEARS = 50  # -1 expires in the year 2319; no duration that a user gives comes near


def stale_reason(digest: str, entry: dict[str, Any], asked: Any, trained: Any) -> str | None:
    """Return why a loaded model is not the one in the store, or None.

    Args:
        digest: the manifest digest of the model in the store.
        entry: of /api/ps. It shows the old digest until the next request (the recording
        ps-after-recreate-while-loaded).
        asked: the model's parameter num_ctx; None where it has none.
        trained: tokens of context that the model was trained for; None where that is unknown.
    """
    try:
        if normalise_digest(entry.get("digest")) != digest:
            return "loaded from the older digest %s" % entry["digest"][:12]
    except InvalidName:
        pass
    running = entry.get("context_length")
    if isinstance(asked, int) and isinstance(running, int):
        effective = effective_context(asked, trained)
        if running != effective:
            return "loaded with a context of %d tokens instead of %d" % (running, effective)
    return None


def effective_context(asked: int, trained: Any) -> int:
    """Return the tokens of context that a server gives a model: no more than it was trained for (seen with Ollama
    0.32.15).

    Args:
        asked: tokens of context, of the model's parameter num_ctx or of the server's default.
        trained: of `trained_context`; None where that is unknown.
    """
    return min(asked, trained) if isinstance(trained, int) and trained > 0 else asked


def trained_context(show: dict[str, Any]) -> Any:
    """Return the tokens of context that a model was trained for, from the answer of /api/show."""
    info = show.get("model_info") or {}
    return info.get("%s.context_length" % info.get("general.architecture"))


def expires(keep_alive: int | str, entry: dict[str, Any]) -> bool:
    """Whether a model that shall stay loaded for ever was loaded for a time only; `entry` is of /api/ps.

    A server gives a model that was loaded for ever a date of expiry far in the future.
    """
    if not str(keep_alive).startswith("-"):
        return False
    year = re.match(r"(\d{4,})-", str(entry.get("expires_at") or ""))
    now = datetime.datetime.now(datetime.timezone.utc).year
    return year is None or int(year.group(1)) <= now + _FOR_EVER_YEARS
