# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible.constants import LOCALHOST
from ansible.errors import AnsibleActionFail
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import REQUESTS, LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.modules import model_info
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries


class FromRegistry(OnController):
    """Read a header from a registry in the process of the task."""

    ERRORS = model_info.ERRORS

    def argument_spec(self):
        """Return the argument spec of the module."""
        return model_info.argument_spec()

    def compute(self, options):
        """Return the facts of the model."""
        return model_info.result(options)


class ActionModule(WithLibraries):
    """Run the module model_info with the libraries it needs.

    A task that is delegated to the controller to ask a registry runs in its own process: starting Python once for each
    model would take longer than reading the header.
    """

    LIBRARIES = (REQUESTS,)

    def run(self, tmp=None, task_vars=None):
        """Read the header here, or run the module on the host."""
        if self._is_for_the_controller():
            parts = (self._task, self._connection, self._play_context, self._loader, self._templar)
            try:
                return FromRegistry(*parts, self._shared_loader_obj).run(tmp, task_vars)
            except LibraryMissing:
                pass  # the module says what is missing, and where
            except AnsibleActionFail as error:
                # As the module does: for what is raised, failed_when is not asked.
                return dict(failed=True, changed=False, msg=error.message)
        return super().run(tmp, task_vars)

    def _is_for_the_controller(self):
        """Whether a registry, a file or an address is read by a task that is delegated to the controller."""
        arguments = self._task.args
        return (
            self._task.delegate_to in LOCALHOST
            and self._connection.transport in ("local", "ansible.builtin.local")
            and not self._play_context.become
            and not self._task.async_val
            and arguments.get("source", "registry") in ("registry", "file", "address")
            and bool(arguments.get("name"))
        )
