# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Counts the results of tasks by host, without those that cost no step on
a host, and writes them to $COUNT_RESULTS_FILE.
"""

from __future__ import annotations

DOCUMENTATION = """
name: count_results
type: aggregate
short_description: Count the results of tasks by host
description: Writes a JSON file with the number of results and of changes by host.
"""

import json
import os

from ansible.plugins.callback import CallbackBase

FREE = {
    "debug",
    "assert",
    "set_fact",
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "meta",
    "include_vars",
    "fail",
}


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.counts = {}

    def _count(self, result):
        if result._task.action.rpartition(".")[2] in FREE:
            return
        host = self.counts.setdefault(result._host.get_name(), {"results": 0, "changed": 0, "tasks": []})
        host["results"] += 1
        host["changed"] += bool(result._result.get("changed"))
        host["tasks"].append(result._task.get_name())

    def v2_runner_on_ok(self, result):
        self._count(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._count(result)

    def v2_runner_on_skipped(self, result):
        self._count(result)

    def v2_runner_on_unreachable(self, result):
        self._count(result)

    def v2_playbook_on_stats(self, stats):
        place = os.environ.get("COUNT_RESULTS_FILE")
        if place:
            with open(place, "w", encoding="utf-8") as handle:
                json.dump(self.counts, handle, indent=1)
