# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Finds the first task that failed in the output of ansible-playbook, and in the output of a playbook that it ran.

The end of a long output seldom has it: the hosts that did not fail go on, and Molecule removes all hosts at the end.
"""

from __future__ import annotations

import contextlib
import json
import re
import textwrap
import typing

_TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(.*)\]")
_FAILED = re.compile(r"(?:fatal|failed): \[([^\]]+)\](.*?)=>\s*(\{.*)?$")
_RECAP = re.compile(r"(\S+)\s+: ok=.*unreachable=(\d+)\s+failed=(\d+)")
LONGEST = 40  # lines of a message
#: In the message of a task that ends a run in a rescue (tasks/switch/failed.yml).
REFERS = "for the reason above"


class Failure(typing.NamedTuple):
    """A failed result: its task, host and item, and the lines of its values, which are YAML or JSON."""

    task: str
    host: str
    item: str
    values: list[str]


def first_failure(output: str) -> str | None:
    """The first failed task with its host and its message; None without one.

    A failure that is ignored or rescued does not count. Where the task ran a playbook, the failure in it follows.
    """
    failures: list[Failure] = []
    ended: set[str] = set()
    task, lines = "", output.splitlines()
    for number, line in enumerate(lines):
        task = named[1] if (named := _TASK.match(line)) else task
        if failed := _FAILED.match(line):
            values = _block(lines[number + 1 :])
            after = lines[number + 1 + len(values) :]
            if failed[3]:
                values = [failed[3], *values, *after[: failed[3] == "{"]]  # JSON may end on a line of its own
            if "...ignoring" not in after[:2]:
                item = re.search(r"\(item=.*\)", failed[2])
                failures.append(Failure(task, failed[1].partition(" ")[0], " " + item[0] if item else "", values))
        elif recap := _RECAP.match(line):
            ended |= {recap[1]} if int(recap[2]) + int(recap[3]) else set()
        elif line.startswith("PLAY [") and not ended and any(map(_RECAP.match, lines[:number])):
            failures = []  # of a run that ended well
        elif ended:
            break
    # A host takes part until it fails, so what failed there before its last task has been rescued.
    last = {failure.host: failure.task for failure in failures}
    final = [one for one in failures if one.task == last[one.host] and (one.host in ended or not ended)]
    if not final:
        return None
    # A rescue that ends the run refers to the failure that it has rescued.
    before = [one for one in failures[: failures.index(final[0])] if one.host == final[0].host]
    if before and REFERS in " ".join(_message(final[0])):
        return "%s\nthe failure before:\n%s" % (_text(final[0]), textwrap.indent(_text(before[-1]), "    "))
    return _text(final[0])


def _block(lines: list[str]) -> list[str]:
    """The lines of a result: indented, or empty between indented ones."""
    size = next((number for number, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    while size and not lines[size - 1].strip():
        size -= 1
    return lines[:size]


def _text(failure: Failure) -> str:
    said = ["TASK [%s] on %s%s" % (failure.task, failure.host, failure.item)]
    message = _message(failure)
    said += ["    " + line for line in message[:LONGEST]] + (["    ..."] if len(message) > LONGEST else [])
    inner = first_failure(_output(failure))
    return "\n".join(said + (["in the output of this task:", textwrap.indent(inner, "    ")] if inner else []))


def _message(failure: Failure) -> list[str]:
    """`msg` of a result, or the whole result where it has none."""
    return _value(failure.values, "msg") or textwrap.dedent("\n".join(failure.values)).splitlines()


def _output(failure: Failure) -> str:
    """Standard output and error of a command."""
    return "\n".join(_value(failure.values, "stdout") + _value(failure.values, "stderr"))


def _value(block: list[str], key: str) -> list[str]:
    """The lines of one value of a result."""
    with contextlib.suppress(ValueError):
        return str(json.loads("\n".join(block)).get(key, "")).splitlines()
    lines = textwrap.dedent("\n".join(block)).splitlines()
    for number, line in enumerate(lines):
        if line.startswith(key + ":"):
            first = line[len(key) + 1 :].strip()
            rest = textwrap.dedent("\n".join(_block(lines[number + 1 :]))).splitlines()
            return rest if re.fullmatch(r"[|>][0-9]*[+-]?", first) else [first, *rest]
    return []
