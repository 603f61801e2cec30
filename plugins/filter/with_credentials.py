# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: with_credentials
short_description: Put user name and password back into an address
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Takes an address of which M(gpufleet.ollama.changes_info) blanked the credentials, and the address that has them.
options:
  _input:
    description: The address without credentials.
    type: str
    required: true
  source:
    description: The address, or that of its directory, with credentials.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Download the release
  ansible.builtin.get_url:
    url: "{{ compared.release.url | gpufleet.ollama.with_credentials(ollama_multigpu_release_url) }}"
    dest: /var/tmp/ollama.tar.zst
    mode: "0600"
  no_log: true
"""

RETURN = r"""
_value:
  description: The address with its credentials.
  type: str
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import filled_address


class FilterModule:
    def filters(self):
        return {"with_credentials": filled_address}
