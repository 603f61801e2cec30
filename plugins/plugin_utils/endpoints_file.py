# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file on the controller with the endpoints of all hosts. Each host enters its own, several at the same time."""

from __future__ import annotations

import json
import os
from typing import Any, Mapping, Optional, Sequence

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import EndpointsError
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import ControllerFile, ControllerFileError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import document, hosts_of

EndpointsFileError = ControllerFileError


class EndpointsFile(ControllerFile):
    """The file.

    Args:
        path: of the file; a relative one is below the current directory of Ansible.
    """

    def __init__(self, path: str) -> None:
        directory, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
        super().__init__(directory, name, "The endpoints", "ollama_multigpu_endpoints_file")

    def check(self) -> None:
        """Look whether the file can be read and written, without changing anything.

        Raises:
            EndpointsFileError: it cannot.
        """
        super().check()
        self._read()

    def enter(self, host: str, entry: Optional[Mapping[str, Any]], known: Sequence[str], is_check: bool) -> bool:
        """Enter what a host serves, in the place of what the file has of it.

        Args:
            host: its name in the inventory.
            entry: what changes.endpoints.plan_endpoints gave for its applied plan; None where it serves nothing more.
            known: names of all hosts of the inventory: what the file has of others is left out. Empty = leave it.
            is_check: only look what would be written.

        Returns:
            bool: whether the file differs, or differed.

        Raises:
            EndpointsFileError: it cannot be written, or the entry gives no endpoints.
        """
        if is_check:
            return self._differing(host, entry, known) is not None
        try:
            with self.locked():
                content = self._differing(host, entry, known)
                if content is not None:
                    self.put(content)
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        return content is not None

    def _differing(self, host: str, entry: Optional[Mapping[str, Any]], known: Sequence[str]) -> Optional[bytes]:
        """The content to write; None where the file has it."""
        there = self._read()
        hosts = {name: found for name, found in there.items() if name != host and (not known or name in known)}
        if entry is not None:
            hosts[host] = dict(entry)
        try:
            content = json_text(document(hosts)).encode("utf-8")
        except EndpointsError as error:
            raise EndpointsFileError(str(error)) from error
        try:
            with open(self.path, "rb") as stream:
                return None if stream.read() == content else content
        except FileNotFoundError:
            return content if hosts else None

    def _read(self) -> dict[str, Any]:
        """What the file has of each host; nothing where it is not there."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                hosts = hosts_of(json.load(stream))
            document(hosts)
            return hosts
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        except (ValueError, RecursionError) as error:  # EndpointsError is one
            raise EndpointsFileError(
                "%s is not a file of endpoints that this collection has written: %s Move it away, or give another path "
                "as ollama_multigpu_endpoints_file." % (self.path, str(error).rstrip(".") + ".")
            ) from error

    def _error(self, reason: str) -> ControllerFileError:
        return ControllerFileError(
            "The endpoints cannot be written to %s: %s. Set ollama_multigpu_endpoints_file to the path of a file on "
            "the controller that you may write." % (self.path, reason)
        )
