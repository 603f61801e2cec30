# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.ollama.plugins.modules import endpoints_file
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints_file import EndpointsFile, EndpointsFileError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController


class ActionModule(OnController):
    """Write the endpoints of a host to a file on the controller, in the process of the task."""

    _requires_connection = False
    ERRORS = (EndpointsFileError,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return endpoints_file.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Check the file, and enter the endpoints if there are any, or take them out."""
        file = EndpointsFile(options["path"])
        file.check()
        entry, is_absent = options["endpoints"], options["state"] == "absent"
        if entry is None and not is_absent:
            return {"path": file.path}
        entered = None if is_absent else entry
        changed = file.enter(options["host"], entered, options["known_hosts"], bool(self._task.check_mode))
        return {"path": file.path, "changed": changed}
