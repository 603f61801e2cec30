# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far the models of a host are fetched, as lines for the terminal, from what the host says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName, parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib

#: A model gets a further line when it has advanced by so much, or after so many seconds.
STEP = 10  # percent
SECONDS = 30.0
_MOST_MODELS = 1000
_LARGEST = 2**63
_MIB = 1024 * 1024


class Progress:
    """The progress of one host.

    Args:
        host: its name.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._seen: dict[str, tuple[float, int]] = {}  # when a model was first seen, and how many bytes it had
        self._told: dict[str, tuple[float, int]] = {}  # when a line was printed, and of how many percent

    def lines(self, record: dict[str, Any], now: float) -> Iterator[str]:
        """Yield the lines that are due.

        Args:
            record: of `read`.
            now: seconds of a clock that only goes forward.
        """
        for name, (completed, total) in record["models"].items():
            first, had = self._seen.setdefault(name, (now, completed))
            percent = 100 * completed // total
            last, before = self._told.get(name, (now - SECONDS, -STEP))
            due = percent >= before + STEP or now - last >= SECONDS or percent == 100
            if before == 100 or not due:
                continue
            self._told[name] = (now, percent)
            yield "%s: %s %d %% of %s%s" % (
                self._host,
                name,
                percent,
                gib(total),
                _speed(completed, total, had, now - first),
            )


def _speed(completed: int, total: int, had: int, seconds: float) -> str:
    """Rate and time left in words; "" where nothing was measured yet, or nothing is left."""
    if seconds <= 0 or completed <= had or completed >= total:
        return ""
    rate = (completed - had) / seconds
    left = int((total - completed) / rate)
    hours, minutes = left // 3600, left % 3600 // 60
    words = "%d h %d min" % (hours, minutes) if hours else "%d min" % minutes if minutes else "%d s" % left
    return ", %.1f MiB/s, %s left" % (rate / _MIB, words)


def read(text: str) -> dict[str, Any]:
    """Return {pid, finished, models: {name: (completed, total)}} of what a host says; what is no such record, or no
    possible number, is left out.

    Args:
        text: from the host.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    content = content if isinstance(content, dict) else {}
    models = content.get("models") if isinstance(content.get("models"), dict) else {}
    found = {}
    for name, entry in list(models.items())[:_MOST_MODELS]:
        sizes = [entry.get(key) if isinstance(entry, dict) else None for key in ("completed", "total")]
        if _is_name(name) and all(_is_size(size) for size in sizes) and 0 < sizes[1] >= sizes[0]:
            found[name] = (sizes[0], sizes[1])
    pid = content.get("pid")
    return {"pid": pid if _is_size(pid) else 0, "finished": content.get("finished") is True, "models": found}


def _is_name(name: str) -> bool:
    try:
        parse(name)
    except InvalidName:
        return False
    return True


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
