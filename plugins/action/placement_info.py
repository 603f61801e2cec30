# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.modules import placement_info
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController


class ActionModule(OnController):
    """Plan on the controller. Only the option measure needs the host, where the engine and the models are."""

    _supports_async = True
    ERRORS = (placement_info.PlacementError,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return placement_info.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the plan."""
        return placement_info.plan(options)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan here, or run the module on the host."""
        if not self._needs_host():
            return super().run(tmp, task_vars)
        result = super(OnController, self).run(tmp, task_vars)
        wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
        return merge_hash(result, self._execute_module(task_vars=task_vars, wrap_async=wrap_async))

    def _needs_host(self) -> bool:
        """Whether the engine is asked, a path is expanded for the host's user, or the task runs in the background."""
        models_dir = str(self._task.args.get("models_dir") or "")
        return (
            self._task.args.get("measure") is not None
            or bool(self._task.async_val)
            or models_dir.startswith("~")
            or "$" in models_dir
        )
