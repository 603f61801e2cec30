# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role does about the rules of its firewall when it is removed, as Ansible runs it."""

from __future__ import annotations

import pathlib

import pytest

from tests.unit.plugins.action.conftest import run_book

TASKS = pathlib.Path(__file__).parents[4] / "roles" / "ollama_multigpu" / "tasks" / "remove" / "firewall.yml"
#: Nothing of the role is loaded and installed.
HOST = {"files": {"/etc/systemd/system/ollama-firewall.service": {"kind": "absent"}}, "firewall": {"loaded": None}}


@pytest.mark.parametrize("works", [True, False])
def test_a_manager_that_fails_stops_no_removal(tmp_path, bare_python, works):
    """A host on which the module cannot run at all: what it says is shown, and the next task runs."""
    variables = {"ansible_python_interpreter": str(bare_python) if works else "/bin/false", "ansible_become": False}
    tasks = [{"ansible.builtin.include_tasks": str(TASKS)}, {"ansible.builtin.debug": {"msg": "the next task"}}]
    book = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    # In check mode, because this machine may have rules of the role.
    done = run_book(tmp_path, [dict(book, vars=dict(variables, __ollama_multigpu_host=HOST))], ["--check"])
    output = " ".join(done.stdout.decode().split())
    assert done.returncode == 0 and "the next task" in output, output
    assert ("Warning: the rules of the role in ufw and firewalld are not all removed: " in output) == (not works)
