# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a task did on a host, in lines: a change, or a failure with its whole message. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Line, Span, Style, line, sentence

#: What else says why a command failed.
_STREAMS = ("stderr", "stdout", "module_stderr", "module_stdout")
_MOST_LINES_OF_A_STREAM = 40
#: A message with its remedy is shorter; what is longer is the output of a program.
_LONGEST_REASON = 2000
#: A task that takes less needs no figure.
_LONG = 1.0


def name_of(task: Any) -> str:
    """Return the name of a task without that of its role."""
    return str(task.get_name()).strip().rsplit(" : ", 1)[-1]


def changed(host: str, task: Any, answer: Mapping[str, Any], seconds: float, style: Style) -> list[Line]:
    """Return the lines of a task that has changed something."""
    items = [one for one in answer.get("results") or [] if isinstance(one, Mapping) and one.get("changed")]
    count = ", %d items" % len(items) if len(items) > 1 else ""
    took = ", %.0f s" % seconds if seconds >= _LONG else ""
    begin = "%s  changed: " % host
    (first, *more) = sentence(style, "%s%s%s" % (name_of(task), count, took), first=begin, rest="    ")
    return [line("%s  " % host, Span("changed", "note"), ": ", *first[1:]), *more]


def failed(
    host: str,
    task: Any,
    answer: Mapping[str, Any],
    style: Style,
    *,
    word: str = "FAILED",
    label: Optional[str] = None,
    ignored: bool = False,
) -> list[Line]:
    """Return the lines of a failure.

    Args:
        host: its name.
        task: of Ansible.
        answer: its result, which Ansible has censored where the task has no_log.
        style: of the terminal.
        word: that says what happened.
        label: of the item of a loop, None where there is none.
        ignored: whether the run goes on.
    """
    item = "" if label is None else " (%s)" % label
    after = ", which is ignored" if ignored else ""
    title = "%s on %s: %s%s%s" % (word, host, name_of(task), item, after)
    lines = sentence(style, title, rest="  ", role="note" if ignored else "bad")
    for paragraph in message(answer).splitlines() or [""]:
        lines += sentence(style, paragraph, first="  ", rest="  ")
    for stream in _STREAMS:
        text = answer.get(stream)
        if isinstance(text, str) and text.strip() and text.strip() not in message(answer):
            rows = text.strip().splitlines()
            lines.append(line(Span("  %s:" % stream, "label")))
            lines += [line("    %s" % printable(row)) for row in rows[-_MOST_LINES_OF_A_STREAM:]]
    return lines


def message(answer: Mapping[str, Any]) -> str:
    """Return the message of a failure."""
    for key in ("censored", "msg", "reason"):
        if answer.get(key):
            value = answer[key]
            return "\n".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return "It gave no reason; -v shows the result."


def reason(task: Any, answer: Mapping[str, Any]) -> str:
    """Return a failure for the overview: the task and its whole message, with the remedy."""
    text = " ".join(message(answer).split())
    short = text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON].rsplit(" ", 1)[0] + " … (whole above)"
    return "%s: %s" % (name_of(task), short)
