# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A run of the role, quietly: what differs, what fails, and all hosts at the end. Thin, see plugin_utils/report/."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
type: stdout
short_description: Show a run of the role ollama_multigpu on a screen
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Prints nothing of tasks that change nothing. A plan that is in force already is a line for each model.
  - Prints new plans, changes with their reasons, differences of files with C(--diff), and failures with their whole
    message. A plan, changes or a difference that another host has as well are not repeated.
  - At the end it shows all hosts with the memory of their GPUs, their verdicts, and the seconds that each stage took.
  - With C(-v) it prints what the callback P(ansible.builtin.default#callback) prints as well.
  - Results of tasks with C(no_log) stay hidden.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - Set it as C(stdout_callback) in C(ansible.cfg), or as E(ANSIBLE_STDOUT_CALLBACK).
"""

EXAMPLES = r"""
ansible.cfg: |
  [defaults]
  stdout_callback = gpufleet.ollama.fleet
"""

import re

from ansible import constants
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import entries, mappings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import task_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.run_watch import RunWatch, is_loop, is_shown, parts
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Span, line, sentence, undrawn
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.terminal import print_lines, terminal_style

#: Actions that take long and say nothing meanwhile.
_LONG = (
    "gpufleet.ollama.benchmark_info",
    "gpufleet.ollama.benchmark_untouched",
    "gpufleet.ollama.placement_check",
    "gpufleet.ollama.release_files",
)
#: What is alike on many hosts, and from how many lines on it is not repeated.
_ALIKE = ("plan", "difference")
_WORTH_IT = 4
#: What a terminal obeys, but for colours.
_OBEYED = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


def _harmless(text):
    """Return a text of a host with escapes such as \\x1b in the place of what a terminal obeys."""
    return _OBEYED.sub(lambda match: ascii(match.group())[1:-1], str(text))


class CallbackModule(Default):
    """The default callback where details are asked for; otherwise only what is new."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "gpufleet.ollama.fleet"

    def __init__(self):
        super().__init__()
        self._watch = RunWatch()
        self._announced = set()
        self._shown = {}  # (kind, lines) -> the host that was the first with them
        self._differences = {}  # (task, text) -> the host that was the first with it

    @property
    def _is_quiet(self):
        return self._display.verbosity == 0

    @property
    def _style(self):
        return terminal_style(details=not self._is_quiet)

    def _print(self, lines):
        print_lines(self._display, self._style, lines)

    # --- what begins -------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook):
        self._watch = RunWatch()
        if not self._is_quiet:
            super().v2_playbook_on_start(playbook)

    def v2_playbook_on_play_start(self, play):
        if not self._is_quiet:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        mode = " (check mode: nothing is changed)" if play.check_mode else ""
        self._print([line(""), line(Span(play.get_name().strip() + mode, "title"))])

    def v2_playbook_on_task_start(self, task, is_conditional):
        if not self._is_quiet:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task):
        if not self._is_quiet:
            super().v2_playbook_on_handler_task_start(task)

    def v2_runner_on_start(self, host, task):
        self._watch.begins(host.get_name(), task)
        if not self._is_quiet:
            super().v2_runner_on_start(host, task)
        elif task.action in _LONG and task._uuid not in self._announced and not task.check_mode:
            self._announced.add(task._uuid)
            self._print([line(Span("%s ..." % task_lines.name_of(task), "label"))])

    # --- what ends ---------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result):
        name, task, answer = parts(result)
        seconds = self._watch.succeeds(name, task, answer)
        if not is_loop(task, answer):
            self._showed(name, task, answer)
        if not self._is_quiet:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings(answer)
        if not is_loop(task, answer):
            self._told(name, task, answer)
        if answer.get("changed") and not task.check_mode and not isinstance(task, TaskInclude):
            self._print(task_lines.changed(name, task, answer, seconds, self._style))

    def v2_runner_item_on_ok(self, result):
        name, task, answer = parts(result)
        self._showed(name, task, answer)
        if self._is_quiet:
            self._told(name, task, answer)
        else:
            super().v2_runner_item_on_ok(result)

    def _handle_warnings(self, res):
        """Print what a host warns of."""
        if not self._is_quiet:
            super()._handle_warnings(res)
            return
        warnings, deprecations = entries(res.pop("warnings", None)), mappings(res.pop("deprecations", None))
        if not getattr(constants, "ACTION_WARNINGS", True):
            return
        for text in warnings:
            self._display.warning(_harmless(text))
        for one in deprecations:
            when = {key: one.get(key) and _harmless(one[key]) for key in ("version", "date", "collection_name")}
            self._display.deprecated(_harmless(one.get("msg")), **when)

    def _told(self, name, task, answer):
        """Print what a playbook's own tasks have to say, such as those of debug."""
        if answer.get("_ansible_verbose_always"):
            self._clean_results(answer, task.action)
            text = answer["msg"] if isinstance(answer.get("msg"), str) else self._dump_results(answer, indent=2)
            self._print([line("%s: %s" % (name, row)) for row in text.splitlines()])

    def _showed(self, name, task, answer):
        """Print what module show has drawn, and keep what the end needs."""
        if not is_shown(task, answer) or not answer.get("drawing"):
            return
        drawing, overview = answer["drawing"], answer["overview"]
        is_evidence = overview.get("kind") == "evidence" and self._watch.record.wants_evidence(name)
        lines = undrawn(drawing["short" if self._is_quiet and not is_evidence else "lines"])
        self._print(self._once(name, overview.get("kind"), lines) if self._is_quiet else lines)
        self._watch.record.showed(name, overview)

    def _once(self, name, kind, lines):
        """Return the lines of a host, and of what another host has shown already only the title."""
        if kind not in _ALIKE or len(lines) < _WORTH_IT:
            return lines
        first = self._shown.setdefault((kind, tuple(lines[1:])), name)
        return lines if first == name else [lines[0], line("  the same as on %s" % first)]

    def v2_runner_on_failed(self, result, ignore_errors=False):
        name, task, answer = parts(result)
        self._watch.ends(name, task)
        if not ignore_errors:
            self._watch.fails(name, task, answer)
        if not self._is_quiet:
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
            return
        self._handle_warnings(answer)
        # The items of a loop have been told.
        if not is_loop(task, answer):
            self._fail(task_lines.failed(name, task, answer, self._style, ignored=ignore_errors))

    def v2_runner_item_on_failed(self, result):
        name, task, answer = parts(result)
        if not self._is_quiet:
            super().v2_runner_item_on_failed(result)
            return
        self._watch.fails(name, task, answer)
        label = self._get_item_label(answer)
        self._fail(task_lines.failed(name, task, answer, self._style, label=label))

    def _fail(self, lines):
        print_lines(self._display, self._style, lines, stderr=bool(self.get_option("display_failed_stderr")))

    def v2_runner_on_unreachable(self, result):
        name, task, answer = parts(result)
        self._watch.ends(name, task)
        self._watch.fails(name, task, answer)
        if self._is_quiet:
            self._fail(task_lines.failed(name, task, answer, self._style, word="UNREACHABLE"))
        else:
            super().v2_runner_on_unreachable(result)

    def v2_runner_on_skipped(self, result):
        name, task, _answer = parts(result)
        self._watch.ends(name, task)
        if not self._is_quiet:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result):
        if not self._is_quiet:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_retry(self, result):
        if not self._is_quiet:
            super().v2_runner_retry(result)

    def v2_runner_on_async_poll(self, result):
        if not self._is_quiet:
            super().v2_runner_on_async_poll(result)

    def v2_runner_on_async_ok(self, result):
        if not self._is_quiet:
            super().v2_runner_on_async_ok(result)

    def v2_playbook_on_include(self, included_file):
        if not self._is_quiet:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_remaining(self):
        if not self._is_quiet:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_on_file_diff(self, result):
        if not self._is_quiet:
            super().v2_on_file_diff(result)
            return
        name, task, answer = parts(result)
        answers = answer["results"] if task.loop and "results" in answer else [answer]
        found = [self._get_diff(one["diff"]) for one in answers if one.get("diff") and one.get("changed")]
        text = "\n".join(one.rstrip("\n") for one in found if one)
        if not text:
            return
        first = self._differences.setdefault((task._uuid, text), name)
        title = "%s: %s%s" % (name, task_lines.name_of(task), "" if first == name else ": the same as on %s" % first)
        self._print(sentence(self._style, title, rest="  ", role="title"))
        if first == name:
            self._display.display(_harmless(text))

    def v2_playbook_on_stats(self, stats):
        if not self._is_quiet:
            super().v2_playbook_on_stats(stats)
        self._print(self._watch.overview(stats, self._style))
