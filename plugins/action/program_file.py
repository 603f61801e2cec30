# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

import os
from typing import Any

from ansible import constants as C
from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import OnHost
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.program_copy import ProgramCopy


class ActionModule(OnHost):
    """Install the controller's program on the host; send it only if the host has none or another one."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the host what it has, and run the module again with the program."""
        result = self.begin(tmp, task_vars)
        del tmp
        copy = ProgramCopy()
        arguments = dict(self._task.args, digest=copy.digest)
        first = self._execute_module(module_args=arguments, task_vars=task_vars)
        if first.get("failed") or not first.get("needed") or self._task.check_mode:
            return merge_hash(result, first)
        arguments["archive"] = self._send(copy)
        return merge_hash(result, self._execute_module(module_args=arguments, task_vars=task_vars))

    def _send(self, copy: ProgramCopy) -> str:
        """Upload the program into the remote temporary directory; return its path on the host."""
        local = os.path.join(C.DEFAULT_LOCAL_TMP, "program-%s.zip" % copy.digest)
        if not os.path.exists(local):  # one archive for all hosts of a playbook run
            copy.write(local)
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        directory = self._connection._shell.tmpdir
        remote = self._connection._shell.join_path(directory, "program.zip")
        self._transfer_file(local, remote)
        self._fixup_perms2([directory, remote])
        return remote
