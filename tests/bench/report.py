# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How the bench prints: tables of errors, and figures held against the limits of the project."""

from __future__ import annotations

import statistics

PARTS = ("weights", "KV cache", "compute", "total")


def spread(errors):
    """(median, 95th percentile, largest) of errors without their sign; None where there are none."""
    ordered = sorted(map(abs, errors))
    return (
        (statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], ordered[-1])
        if ordered
        else None
    )


def per_cent(ours, engine):
    return 100 * (ours - engine) / max(engine, 1)


def table(title, first, groups, rows):
    """Print a table.

    Args:
        title: above the table.
        first: head of the first column.
        groups: [(name, format of a number)], three columns each.
        rows: [(name, n, [spread or None, ...])].
    """
    print("\n" + title)
    print("%-26s" % first + "".join("  |%s" % name.center(29) for name, unused in groups))
    print(
        "%-19s %6s" % ("", "n")
        + "".join(
            "  |" + "".join("%9s " % name for name in ("median", "p95", "max")).rstrip().rjust(29) for unused in groups
        )
    )
    for name, count, spreads in rows:
        cells = "".join(
            "  |" + ("".join(" " + form % value for value in found) if found else "%29s" % "-").rjust(29)
            for (unused, form), found in zip(groups, spreads)
        )
        print("%-19s %6d%s" % (name, count, cells))


class Limits:
    """Figures measured in this run beside what the project asks of them."""

    def __init__(self):
        self.lines = []

    def hold(self, what, value, limit, met, detail=""):
        """`value` and `limit` are texts."""
        self.lines.append((what, value, limit, met, detail))

    def show(self):
        """Print them; whether all are met."""
        print("\nheld against the limits, all measured in this run")
        for what, value, limit, met, detail in self.lines:
            print("%-6s %-58s %16s   %-28s %s" % ("met" if met else "MISSED", what, value, limit, detail))
        return all(line[3] for line in self.lines)
