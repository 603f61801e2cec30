# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Writes the steps of a run that changed something to $CHANGING_STEPS_FILE, and kills the run with all its children:
after the step with number $KILL_AFTER, or $KILL_DELAY seconds after the beginning of the step named $KILL_WITHIN."""

from __future__ import annotations

DOCUMENTATION = """
name: kill_controller
type: aggregate
short_description: Record the steps of a run that changed something, and kill the run at one of them
description: A step is a task, with its number where a task comes several times, or an item of a loop.
"""

import os
import pathlib
import signal
import threading

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_controller"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.begun, self.changed = {}, 0
        self.kill_after = int(os.environ.get("KILL_AFTER") or 0)
        self.kill_within = os.environ.get("KILL_WITHIN") or ""

    def _name(self, task, item=""):
        return "%s %s %d" % (task.get_name().rpartition(" : ")[2], item, self.begun.get(task.get_name(), 0))

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.begun[task.get_name()] = self.begun.get(task.get_name(), 0) + 1
        if self.kill_within and self._name(task) == self.kill_within:
            timer = threading.Timer(float(os.environ["KILL_DELAY"]), _kill)
            timer.daemon = True
            timer.start()

    def v2_runner_item_on_ok(self, result):
        self._note(result, str(result._result.get("_ansible_item_label", "")))

    def v2_runner_on_ok(self, result):
        if not result._task.loop:  # its items have been noted
            self._note(result)

    def _note(self, result, item=""):
        if not result._result.get("changed"):
            return
        with open(os.environ["CHANGING_STEPS_FILE"], "a", encoding="utf-8") as handle:
            handle.write(self._name(result._task, item) + "\n")
        self.changed += 1
        if self.changed == self.kill_after:
            _kill()


def _kill():
    """Kill this process and all that descend from it on this machine, at once. What runs on a rig host, in a namespace
    of its own, goes on there, as it does behind a connection that breaks."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if os.readlink(path.parent / "ns" / "pid") != os.readlink("/proc/self/ns/pid"):
                continue
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += parents.get(pid, [])
    for pid in reversed(found):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
