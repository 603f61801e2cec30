# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.ollama.plugins.modules import evidence_file
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.evidence_file import EvidenceFile, EvidenceFileError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController


class ActionModule(OnController):
    """Write the evidence of a host on the controller, in the process of the task."""

    _requires_connection = False
    ERRORS = (EvidenceFileError,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return evidence_file.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Check the directory, and write the file if there is evidence."""
        file = EvidenceFile(options["directory"], options["host"])
        file.check()
        if options["evidence"] is not None and not self._task.check_mode:
            file.write(dict(options["evidence"], host=options["host"]))
        return {"path": file.path}
