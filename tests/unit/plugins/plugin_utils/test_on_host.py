# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where the files of a task are on a host."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import IN_MEMORY, OnHost


class Shell:
    """The options of a shell plugin."""

    def __init__(self):
        self.options = {"remote_tmp": "~/.ansible/tmp"}

    def get_option(self, name, hostvars=None):
        return self.options[name]

    def set_option(self, name, value):
        self.options[name] = value


@pytest.mark.parametrize(
    "arguments, place",
    [({}, "~/.ansible/tmp"), ({"registry_password": ""}, "~/.ansible/tmp"), ({"registry_password": "x"}, IN_MEMORY)],
)
def test_a_password_is_in_the_memory_of_the_host_alone(monkeypatch, arguments, place):
    shell, seen = Shell(), []
    monkeypatch.setattr(ActionBase, "_make_tmp_path", lambda self, user=None: seen.append(shell.options["remote_tmp"]))
    action = OnHost.__new__(OnHost)
    action._task, action._connection = SimpleNamespace(args=arguments), SimpleNamespace(_shell=shell)
    action._make_tmp_path()
    assert seen == [place] and shell.options["remote_tmp"] == "~/.ansible/tmp"
