# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.ollama.plugins.modules import placement_info
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import OnHost


class ActionModule(OnController):
    """Plan on the controller. Only the option measure needs the host, where the engine and the models are."""

    _supports_async = True
    ERRORS = (placement_info.PlacementError,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return placement_info.argument_spec()

    def better_message(self, given: dict[str, Any]) -> str | None:
        """Return what is wrong with the models and the other options that have keys."""
        return placement_info.better_message(given)

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the plan."""
        return placement_info.plan(options)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan here, or run the module on the host."""
        if not self._needs_host():
            return super().run(tmp, task_vars)
        if self._task.args.get("cordon") and not self._task.args.get("now"):
            # The ends of cordons are compared with the controller's clock.
            self._task.args = {**self._task.args, "now": placement_info.time_here()}
        parts = (self._task, self._connection, self._play_context, self._loader, self._templar)
        return OnHost(*parts, self._shared_loader_obj).run(tmp, task_vars)

    def _needs_host(self) -> bool:
        """Whether the engine is asked, a path is expanded for the host's user, or the task runs in the background."""
        models_dir = str(self._task.args.get("models_dir") or "")
        return (
            self._task.args.get("measure") is not None
            or bool(self._task.async_val)
            or models_dir.startswith("~")
            or "$" in models_dir
        )
