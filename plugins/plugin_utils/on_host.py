# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Action base for modules that run on a host. The host is not believed more than is needed."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.host_answer import (
    TOO_DEEP,
    AnswerError,
    cleaned,
    harmless,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.host_facts import host_name, refuse_foreign_names

#: Options that hold a password.
PASSWORDS = ("registry_password",)
#: A directory of a host that is in its memory, and that every user may use.
IN_MEMORY = "/dev/shm"


class OnHost(ActionBase):
    """Run the module of the task, and return of its answer what the module documents."""

    _supports_check_mode = True
    _supports_async = True

    #: The host's name in the inventory.
    _host_name = "the host"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""
        result = self.begin(tmp, task_vars)
        wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
        return merge_hash(result, self._execute_module(task_vars=task_vars, wrap_async=wrap_async))

    def begin(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of a task so far, after a look at the facts of its host.

        Raises:
            AnsibleActionFail: The host has a fact that it must not have.
        """
        self._host_name = host_name(task_vars)
        connection = self._connection
        parts = (connection, getattr(connection, "become", None), getattr(connection, "_shell", None))
        refuse_foreign_names(task_vars, parts)
        return super().run(tmp, task_vars)

    def _make_tmp_path(self, remote_user: str | None = None) -> str:
        """Make the directory for the module, in the memory of the host where the task has a password.

        What Ansible sends holds the options. A module that runs in the background stays there until it has ended, and
        what is left of a host that was switched off would be on its disk.
        """
        if not any(self._task.args.get(option) for option in PASSWORDS):
            return super()._make_tmp_path(remote_user)
        shell, directory = self._connection._shell, self.get_shell_option("remote_tmp", default="~/.ansible/tmp")
        shell.set_option("remote_tmp", IN_MEMORY)
        try:
            return super()._make_tmp_path(remote_user)
        finally:
            shell.set_option("remote_tmp", directory)

    def _execute_module(self, module_name: str | None = None, **options: Any) -> dict[str, Any]:
        """Run a module and return of its answer what it documents.

        Raises:
            AnsibleActionFail: The answer is too large, or is not one of the module.
        """
        name = module_name or self._task.action
        problem = None
        try:
            answer = cleaned(name, super()._execute_module(module_name=module_name, **options))
        except AnsibleError:
            raise
        except AnswerError as error:
            problem = str(error)
        except RecursionError:
            problem = TOO_DEEP
        except (TypeError, ValueError, AttributeError, KeyError) as error:  # of ansible-core, for keys of its own
            problem = "is malformed (%s)" % error
        if problem:  # here, so that Ansible shows the sentence alone
            raise self._refused(name, problem)
        if self._discovered_interpreter_key:  # found by the controller, for later tasks
            facts = answer.setdefault("ansible_facts", {})
            facts[self._discovered_interpreter_key] = self._discovered_interpreter
        return answer

    def _low_level_execute_command(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Run a command and return what it printed, without what a terminal obeys.

        Raises:
            AnsibleActionFail: It printed too much.
        """
        result = super()._low_level_execute_command(*arguments, **options)
        problem = None
        for stream in ("stdout", "stderr"):
            try:
                result[stream] = harmless(result.get(stream) or "")
            except AnswerError as error:
                problem = str(error)
        if problem:
            raise self._refused(self._task.action, problem)
        return result

    def _refused(self, module: str, problem: str) -> AnsibleActionFail:
        """Return the failure of a task whose module is answered by something else."""
        return AnsibleActionFail(
            "The answer of %s to the module %s %s: no module of this collection answers so. Find out what runs on the "
            "host in its place." % (self._host_name, module.split(".")[-1], problem)
        )
