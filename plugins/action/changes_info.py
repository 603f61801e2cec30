# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares a host with its plan on the controller, without a connection to the host."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.answer import answer
from ansible_collections.gpufleet.ollama.plugins.modules.changes_info import argument_spec


class ActionModule(ActionBase):
    """Run the module changes_info in Ansible's own process."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp  # Ansible keeps it for old plugins only
        unused, options = self.validate_argument_spec(argument_spec=argument_spec())
        host = (task_vars or {}).get("inventory_hostname", "the host")
        return merge_hash(result, answer(options, host, self._task.check_mode))
