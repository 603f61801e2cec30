# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Writes the plan and the messages of failed tasks of each host to $RECORD_OUTCOME_FILE."""

from __future__ import annotations

DOCUMENTATION = """
name: record_outcome
type: aggregate
short_description: Record plans and failures by host
description: Writes a JSON file with the plan and the messages of failed tasks by host.
"""

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record_outcome"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.hosts = {}

    def _host(self, result):
        return self.hosts.setdefault(result._host.get_name(), {"plan": None, "failures": []})

    def v2_runner_on_ok(self, result):
        if "placement" in result._result:
            self._host(result)["plan"] = result._result["placement"]

    def v2_runner_item_on_failed(self, result):
        self._host(result)["failures"].append(str(result._result.get("msg", "")))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not result._task.loop:  # a loop's items have been recorded; what follows them is Ansible's own summary
            self._host(result)["failures"].append(str(result._result.get("msg", "")))

    def v2_playbook_on_stats(self, stats):
        with open(os.environ["RECORD_OUTCOME_FILE"], "w", encoding="utf-8") as handle:
            json.dump(self.hosts, handle)
