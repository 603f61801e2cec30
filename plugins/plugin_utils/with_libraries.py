# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Action base for modules that need a library: if the host does not have it, send a copy and run the module again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible import constants as C
from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import (
    DISTRIBUTION_PACKAGE,
    LIBRARIES_VARIABLE,
    NVML,
    REQUESTS,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.library_copies import (
    CopyUnavailable,
    LibraryCopy,
    write_archive,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import OnHost

_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){1,3}\Z")


class WithLibraries(OnHost):
    """Subclasses name the libraries that their module imports in `LIBRARIES`."""

    LIBRARIES: tuple[str, ...] = (REQUESTS, NVML)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, a second time with the libraries if it reported a missing one."""
        result = self.begin(tmp, task_vars)
        del tmp  # Ansible keeps it for old plugins only
        wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
        if wrap_async:
            # The result of the job is read much later by async_status, so ask for missing libraries before it starts.
            missing = self._probe(task_vars)
            problem = self._send(missing, task_vars) if missing else None
            if problem:
                return merge_hash(result, {"failed": True, "msg": problem})
            return merge_hash(result, self._run_module(task_vars, wrap_async=True))

        outcome = self._run_module(task_vars)
        if outcome.get("missing_library") in self.LIBRARIES:
            problem = self._send(outcome, task_vars)
            outcome = self.without_library(outcome, problem) if problem else self._run_module(task_vars)
        # If the library is still missing, the message of the module says why the copy cannot be used.
        for key in ("missing_library", "missing_reason", "python_version"):
            outcome.pop(key, None)
        return merge_hash(result, outcome)

    def without_library(self, outcome: dict[str, Any], problem: str) -> dict[str, Any]:
        """Return the result of the task if no copy could be sent: that of the module, with `problem` as its message."""
        outcome["msg"] = problem
        return outcome

    def _run_module(self, task_vars: dict[str, Any] | None, wrap_async: bool = False) -> dict[str, Any]:
        return self._execute_module(task_vars=task_vars, wrap_async=wrap_async)

    def _probe(self, task_vars: dict[str, Any] | None) -> dict[str, str]:
        """Return what the module would report about a missing library; {} if the host has all of them."""
        answer = self._execute_module(
            module_name="gpufleet.ollama.libraries",
            module_args={"state": "present", "names": list(self.LIBRARIES)},
            task_vars=task_vars,
        )
        missing = [name for name in self.LIBRARIES if (answer.get("found") or {}).get(name, "") is None]
        if not missing:
            return {}
        return {"missing_library": missing[0], "python_version": python_version(answer)}

    def _send(self, outcome: dict[str, Any], task_vars: dict[str, Any] | None) -> str | None:
        """Send the controller's copies for the next run of the module.

        Args:
            outcome: What the module reported: `missing_library`, `missing_reason` and `python_version` of the host.
            task_vars: Variables of the task.

        Returns:
            Why that is not possible, in one sentence; None if the copies were sent.
        """
        name = outcome["missing_library"]
        here = self._task.delegate_to in C.LOCALHOST  # the host that the task is for does not come into it
        start = "The Python library %s is missing on %s" % (name, "the controller" if here else self._host_name)
        if outcome.get("missing_reason"):
            start += " (%s)" % printable(outcome["missing_reason"])
        version = python_version(outcome)
        copies, problem = [], None
        for library in self.LIBRARIES:
            try:
                copy = LibraryCopy(library)
            except CopyUnavailable as reason:
                if library == name and here:
                    problem = "%s: install %s into the Python that runs Ansible." % (start, name)
                elif library == name:
                    problem = "%s, and %s, or the package %s on the host." % (start, reason, DISTRIBUTION_PACKAGE[name])
                continue
            too_new = copy.too_new_for(version) if version else None
            if not too_new:
                copies.append(copy)
            elif library == name:
                problem = (
                    "%s (Python %s), and the controller's copy is too new for it (%s %s needs Python %s): "
                    "install the package %s on the host." % ((start, version) + too_new + (DISTRIBUTION_PACKAGE[name],))
                )
        if problem:
            return problem
        self.send_archive(copies)
        return None

    def send_archive(self, copies: Sequence[LibraryCopy]) -> str:
        """Upload the libraries as one zip file to the remote temporary directory, for the next run of the module.

        Returns:
            The path of the file on the host.
        """
        local = os.path.join(C.DEFAULT_LOCAL_TMP, "libraries-%s.zip" % "-".join(copy.name for copy in copies))
        if not os.path.exists(local):  # one archive for all hosts and tasks of a playbook run
            write_archive(copies, local)
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        directory = self._connection._shell.tmpdir
        remote = self._connection._shell.join_path(directory, "libraries.zip")
        self._transfer_file(local, remote)
        self._fixup_perms2([directory, remote])
        environment = self._task.environment or []
        if not isinstance(environment, list):
            environment = [environment]
        # A new list, because later loop items share the task object and have another temporary directory.
        self._task.environment = [entry for entry in environment if not _ours(entry)] + [{LIBRARIES_VARIABLE: remote}]
        return remote


def python_version(answer: Mapping[str, Any]) -> str:
    """Return the version of a host's Python as its module told it, "" where that is no version."""
    told = answer.get("python_version")
    return told if isinstance(told, str) and _VERSION.match(told) else ""


def _ours(entry: Any) -> bool:
    """Return whether an entry of the task's environment was set here for an earlier run."""
    return isinstance(entry, dict) and list(entry) == [LIBRARIES_VARIABLE]
