# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import (
    DISTRIBUTION_PACKAGE,
    NVML,
    REQUESTS,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.library_copies import CopyUnavailable, LibraryCopy
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries, python_version


class ActionModule(WithLibraries):
    """Install the controller's copies on the host; send them only if the host has none or other ones."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the host what it needs, and run the module again with the copies."""
        result = self.begin(tmp, task_vars)
        del tmp
        copies, reasons = {}, {}
        for name in (REQUESTS, NVML):
            try:
                copies[name] = LibraryCopy(name)
            except CopyUnavailable as reason:
                reasons[name] = str(reason)
        arguments = dict(self._task.args)
        arguments["copies"] = {name: {"version": copy.version, "digest": copy.digest} for name, copy in copies.items()}
        first = self._execute_module(module_args=arguments, task_vars=task_vars)
        needed = [name for name in first.get("needed") or [] if name in (REQUESTS, NVML)]
        if first.get("failed") or not needed:
            return merge_hash(result, first)

        version = python_version(first)
        for name in needed:
            problem = reasons.get(name)
            too_new = copies[name].too_new_for(version) if version and name in copies else None
            if too_new:
                problem = "the controller's copy is too new for its Python %s (%s %s needs Python %s)" % (
                    (version,) + too_new
                )
            if problem:
                message = "The Python library %s is missing on %s, and %s: install the package %s on the host." % (
                    name,
                    self._host_name,
                    problem,
                    DISTRIBUTION_PACKAGE[name],
                )
                return merge_hash(result, {"failed": True, "msg": message, "changed": False})
        if self._task.check_mode:
            return merge_hash(result, first)
        arguments["archive"] = self.send_archive([copies[name] for name in needed])
        return merge_hash(result, self._execute_module(module_args=arguments, task_vars=task_vars))
