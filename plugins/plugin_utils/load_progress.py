# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far the models of a host are loaded, as sentences for the terminal, from what the host says of it. Pure.

An engine takes the memory of the GPUs at the beginning of a load, so NVML shows no progress. What is known are the
seconds, and how much of the model's file the engine has read (module_utils/evidence/load_progress.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.progress_record import (
    SECONDS,
    STEP,
    content,
    is_name,
    is_size,
)

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,100}\Z")
_NUMBERS = ("seconds", "total_bytes", "read_bytes", "disk_bytes")
Loads = dict[tuple[str, str], dict[str, Optional[int]]]


class LoadSentences:
    """The loads of one host, in a clock that only goes forward."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}  # seconds that a load has taken, when it was looked at last
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # when a sentence was told, and of how many percent

    def sentences(self, loads: Loads, now: float) -> Iterator[str]:
        """Yield the sentences that are due.

        What does not go on between two looks is the record of an earlier run, or a load that has ended.

        Args:
            loads: of `read`.
            now: seconds.
        """
        for (instance, model), load in loads.items():
            key, seconds = (instance, model), load["seconds"] or 0
            goes_on = seconds > self._seen.get(key, seconds)
            self._seen[key] = seconds
            percent = _percent(load)
            last, before = self._told.get(key, (now - SECONDS, -STEP))
            if goes_on and (percent >= before + STEP or now - last >= SECONDS):
                self._told[key] = (now, percent)
                yield "loading %s on %s, %d s so far%s" % (model, instance, seconds, _in_words(load))


def _percent(load: dict[str, Optional[int]]) -> int:
    return 100 * (load["read_bytes"] or 0) // (load["total_bytes"] or 1)


def _in_words(load: dict[str, Optional[int]]) -> str:
    """How much is read; "" where it is not known, as of an engine that reads by other ways."""
    total, read = load["total_bytes"], load["read_bytes"]
    if total is None:
        return ""
    if not read:
        return " (its file has %s)" % gib(total)
    disk = ", %s of it from disk" % gib(load["disk_bytes"]) if load["disk_bytes"] else ""
    if read >= total:
        return ": its whole file of %s is read%s" % (gib(total), disk)
    return ": about %s of %s read%s" % (gib(read), gib(total), disk)


def read(text: str) -> Loads:
    """Return {(instance, model): numbers} of the loads that go on by what a host says; what is no such record, or no
    possible number, is left out.

    Args:
        text: from the host.
    """
    _pid, finished, models = content(text)
    found: Loads = {}
    for name, entry in models.items():
        instance, _slash, model = name.partition("/")
        numbers = {key: entry.get(key) for key in _NUMBERS}
        known = all(value is None or is_size(value) for value in numbers.values())
        if known and numbers["seconds"] is not None and _INSTANCE.match(instance) and is_name(model) and not finished:
            found[instance, model] = numbers
    return found
