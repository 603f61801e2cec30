# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The difference in words: one line for each change, for people. Pure."""

from __future__ import annotations

from .schema import Change, Changes


def summary_lines(changes: Changes) -> list[str]:
    """Return the lines that say what a run does to a host."""
    lines = ["Warning: %s" % note for note in changes.notes]
    lines += ["Obstacle: %s" % obstacle for obstacle in changes.obstacles]
    if not changes.changes:
        return lines + ([] if changes.obstacles else ["Nothing on the host differs from the plan."])
    return lines + [change_line(change) for change in changes.changes]


def change_line(change: Change) -> str:
    """Return a change in words, with its reason."""
    verb = change.kind.replace("_", " ")
    place = " on %s" % change.instance if change.object == "model" and change.instance else ""
    return "%s%s %s %s%s: %s" % (verb[0].upper(), verb[1:], change.object, change.what, place, change.reason)
