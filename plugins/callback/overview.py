# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The overview at the end of a run, beside any stdout callback. Thin, see plugin_utils/report/."""

from __future__ import annotations

DOCUMENTATION = r"""
name: overview
type: aggregate
short_description: Show all hosts and the seconds of each stage at the end of a run
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - At the end of a run of the role ollama_multigpu it shows all hosts with the memory of their GPUs, their verdicts,
    and the seconds that each stage took. Everything else is printed by the stdout callback.
  - The callback P(gpufleet.ollama.fleet#callback) ends with the same overview. With it, this callback prints nothing.
  - Where standard output is data for a program (callbacks C(json) and C(jsonl)), it prints to standard error.
requirements:
  - List it in C(callbacks_enabled) in C(ansible.cfg), or in E(ANSIBLE_CALLBACKS_ENABLED).
"""

EXAMPLES = r"""
ansible.cfg: |
  [defaults]
  callbacks_enabled = gpufleet.ollama.overview
"""

from ansible.plugins.callback import CallbackBase
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.run_watch import RunWatch, is_loop, is_shown, parts
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.terminal import (
    is_data,
    is_fleet,
    print_lines,
    terminal_style,
)


class CallbackModule(CallbackBase):
    """Watches a run, and prints at its end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gpufleet.ollama.overview"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._watch = RunWatch()

    def v2_playbook_on_start(self, playbook):
        self._watch = RunWatch()

    def v2_runner_on_start(self, host, task):
        self._watch.begins(host.get_name(), task)

    def v2_runner_on_ok(self, result):
        name, task, answer = parts(result)
        self._watch.succeeds(name, task, answer)
        if not is_loop(task, answer):
            self._showed(name, task, answer)

    def v2_runner_item_on_ok(self, result):
        self._showed(*parts(result))

    def _showed(self, name, task, answer):
        if is_shown(task, answer):
            self._watch.record.showed(name, answer["overview"])

    def v2_runner_on_failed(self, result, ignore_errors=False):
        name, task, answer = parts(result)
        self._watch.ends(name, task)
        if not ignore_errors:
            self._watch.fails(name, task, answer)

    def v2_runner_item_on_failed(self, result):
        self._watch.fails(*parts(result))

    def v2_runner_on_unreachable(self, result):
        name, task, answer = parts(result)
        self._watch.ends(name, task)
        self._watch.fails(name, task, answer)

    def v2_runner_on_skipped(self, result):
        name, task, _answer = parts(result)
        self._watch.ends(name, task)

    def v2_playbook_on_stats(self, stats):
        style = terminal_style(details=self._display.verbosity > 0)
        if not is_fleet():
            print_lines(self._display, style, self._watch.overview(stats, style), stderr=is_data())
