# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Tasks and results as ansible-core gives them to callbacks: of 2.17 (_result), and of 2.19 and later (result)."""

from __future__ import annotations

from types import SimpleNamespace

TASKS = "/x/roles/ollama_multigpu/tasks/"


class Task(SimpleNamespace):
    """As much of a task as callbacks read."""

    def __init__(self, name, action="x.y.z", path="plan/main.yml", loop=None, check_mode=False):
        super().__init__(
            name=name,
            action=action,
            loop=loop,
            check_mode=check_mode,
            no_log=False,
            ignore_unreachable=False,
            _uuid=name,
            path=TASKS + path + ":3",
            args={},
            delegate_to=None,
            loop_control=None,
        )

    def get_name(self):
        return "gpufleet.ollama.ollama_multigpu : " + self.name

    def get_path(self):
        return self.path


class Stats:
    """What Ansible has counted."""

    def __init__(self, **hosts):
        self.processed = dict.fromkeys(hosts, 1)
        self.custom = {}
        self.hosts = hosts

    def summarize(self, host):
        counts = dict.fromkeys(("ok", "failures", "unreachable", "changed", "skipped", "rescued", "ignored"), 0)
        return dict(counts, **self.hosts[host])


def result_of(is_new, name, task, answer):
    """What a callback is given of a task that has ended on a host."""
    host = SimpleNamespace(get_name=lambda: name, name=name)
    if is_new:
        return SimpleNamespace(host=host, task=task, result=answer, exception=None)
    return SimpleNamespace(_host=host, _task=task, _result=answer)
