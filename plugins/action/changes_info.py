# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.module_result import answer
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import NVML, REQUESTS
from ansible_collections.gpufleet.ollama.plugins.modules import changes_info
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.library_copies import CopyUnavailable, LibraryCopy
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.program_copy import ProgramCopy


class ActionModule(OnController):
    """Compare a host with its plan on the controller, without a connection to the host."""

    _requires_connection = False

    def argument_spec(self):
        """Return the argument spec of the module."""
        return changes_info.argument_spec()

    def compute(self, options):
        """Return the difference."""
        if options["plan"] is not None:
            options["libraries"] = {name: _digest(name) for name in (REQUESTS, NVML)}
            options["program"] = ProgramCopy().digest
        return answer(options, self._host_name, self._task.check_mode)


def _digest(name):
    """Return the digest of the controller's copy of a library, None where it has none."""
    try:
        return LibraryCopy(name).digest
    except CopyUnavailable:
        return None
