# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The evidence of a host as a file on the controller."""

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import (
    ControllerFile,
    ControllerFileError,
    file_name,
)

EvidenceFileError = ControllerFileError


class EvidenceFile(ControllerFile):
    """The file of one host in a directory.

    Args:
        directory: The directory; a relative one is below the current directory of Ansible.
        host: The host's name in the inventory.

    Raises:
        EvidenceFileError: The name of the host cannot be the name of a file in the directory.
    """

    def __init__(self, directory: str, host: str) -> None:
        name = file_name(host, "evidence")
        super().__init__(directory, name, "The evidence of %s" % host, "ollama_multigpu_evidence_dir")

    def write(self, evidence: dict[str, Any]) -> None:
        """Write the file as a whole. A link in its place is replaced, not followed.

        Raises:
            EvidenceFileError: It cannot be written.
        """
        self.put(json_text(evidence).encode("ascii"))
