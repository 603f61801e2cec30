# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far the models of a host are fetched, as lines for the terminal, from what the host says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.progress_record import (
    SECONDS,
    STEP,
    content,
    is_name,
    is_size,
)

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
    pid, finished, models = content(text)
    found = {}
    for name, entry in models.items():
        sizes = [entry.get(key) for key in ("completed", "total")]
        if is_name(name) and all(is_size(size) for size in sizes) and 0 < sizes[1] >= sizes[0]:
            found[name] = (sizes[0], sizes[1])
    return {"pid": pid, "finished": finished, "models": found}
