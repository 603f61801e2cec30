# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A run as Ansible tells its callbacks of it: when tasks begin on a host, and how they end. It reads the clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import task_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.overview import overview_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.run_record import STAGES, RunRecord, stage_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Line, Style, line

#: The action of module show.
SHOW = "gpufleet.ollama.show"


def parts(result: Any) -> tuple[str, Any, dict[str, Any]]:
    """Return (host name, task, result) of what a callback is given; ansible-core 2.19 has other names for them."""
    if hasattr(result, "result"):
        return result.host.get_name(), result.task, result.result
    return result._host.get_name(), result._task, result._result


def is_shown(task: Any, answer: Mapping[str, Any]) -> bool:
    """Return whether a result is that of module show."""
    return task.action == SHOW and isinstance(answer.get("overview"), Mapping)


def is_loop(task: Any, answer: Mapping[str, Any]) -> bool:
    """Return whether a result is that of a loop, whose items were told one by one."""
    return bool(task.loop) and "results" in answer


class RunWatch:
    """A run. `record` has what became of its hosts."""

    def __init__(self) -> None:
        self.record = RunRecord(bool((context.CLIARGS or {}).get("check")))
        self._began: dict[tuple[str, str], float] = {}

    def begins(self, name: str, task: Any) -> None:
        """A task begins on a host."""
        self._began[name, task._uuid] = time.monotonic()

    def ends(self, name: str, task: Any) -> float:
        """A task has ended on a host; each ending counts once.

        Returns:
            The seconds that it took.
        """
        began = self._began.pop((name, task._uuid), None)
        seconds = 0.0 if began is None else time.monotonic() - began
        self.record.took(name, stage_of(task.get_path()), seconds)
        return seconds

    def succeeds(self, name: str, task: Any, answer: Mapping[str, Any]) -> float:
        """A task has ended well on a host.

        Returns:
            The seconds that it took.
        """
        if answer.get("changed") and not isinstance(task, TaskInclude):
            self.record.host(name).changed += 1
        return self.ends(name, task)

    def fails(self, name: str, task: Any, answer: Mapping[str, Any]) -> None:
        """A task, or an item of its loop, has failed on a host, or the host cannot be reached."""
        self.record.failed(name, task_lines.reason(task, answer))

    def overview(self, stats: Any, style: Style) -> list[Line]:
        """Return the end of a run; no line where it had no host.

        Args:
            stats: what Ansible has counted.
            style: of the terminal.
        """
        outcomes = self.record.outcomes({name: stats.summarize(name) for name in sorted(stats.processed)})
        return [line(""), *overview_lines(outcomes, STAGES, style)] if outcomes else []
