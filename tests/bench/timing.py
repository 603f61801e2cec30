# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Processor time of a piece of work, and a line that shows a ratio."""

from __future__ import annotations

import statistics
import time


def seconds(work, rounds):
    """Median processor time of one call."""
    times = []
    for unused in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def row(what, ratio, detail):
    print("%-82s %10.2f   %s" % (what, ratio, detail))
