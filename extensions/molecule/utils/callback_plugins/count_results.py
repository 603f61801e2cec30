# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Counts what a run does on each host and writes it to $COUNT_RESULTS_FILE.

`executions` are the remote steps: one for each task, one for each item of a loop. Neither skipped tasks and items,
nor what runs on the controller counts. `results` are the results of tasks, `changed` those that changed something.
"""

from __future__ import annotations

DOCUMENTATION = """
name: count_results
type: aggregate
short_description: Count executions and results of tasks by host
description: Writes a JSON file with the number of executions, of results and of changes by host.
"""

import json
import os

from ansible.plugins.callback import CallbackBase

#: Actions that run on the controller.
FREE = {
    "add_host",
    "assert",
    "changes_info",
    "debug",
    "fail",
    "group_by",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "set_fact",
    "set_stats",
    "validate_argument_spec",
}


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.counts = {}

    def _host(self, result):
        """The counters of the result's host; None where its action runs on the controller."""
        if result._task.action.rpartition(".")[2] in FREE:
            return None
        start = {"executions": 0, "results": 0, "changed": 0, "tasks": []}
        return self.counts.setdefault(result._host.get_name(), start)

    def _executed(self, result):
        host = self._host(result)
        if host and not result._task.delegate_to:
            host["executions"] += 1
            item = result._result.get("_ansible_item_label", "") if result._task.loop else ""
            host["tasks"].append("%s %s" % (result._task.get_name(), item) if item else result._task.get_name())

    def _count(self, result):
        host = self._host(result)
        if host:
            host["results"] += 1
            host["changed"] += bool(result._result.get("changed"))

    def v2_runner_on_ok(self, result):
        self._count(result)
        if not result._task.loop:  # a loop's items have been counted
            self._executed(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result)

    def v2_runner_item_on_ok(self, result):
        self._executed(result)

    def v2_runner_item_on_failed(self, result):
        self._executed(result)

    def v2_runner_on_skipped(self, result):
        self._count(result)

    def v2_runner_on_unreachable(self, result):
        self._count(result)

    def v2_playbook_on_stats(self, stats):
        place = os.environ.get("COUNT_RESULTS_FILE")
        if place:
            with open(place, "w", encoding="utf-8") as handle:
                json.dump(self.counts, handle, indent=1)
