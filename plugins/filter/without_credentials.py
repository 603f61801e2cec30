# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: without_credentials
short_description: Blank user names and passwords in the addresses of a text
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Blanks user names, passwords and queries in the addresses of a message, so that it can be shown.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say what went wrong
  ansible.builtin.fail:
    msg: "{{ ansible_failed_result.msg | gpufleet.ollama.without_credentials }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import without_credentials


class FilterModule:
    def filters(self):
        return {"without_credentials": without_credentials}
