# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: endpoints_document
short_description: Put the endpoints of hosts together, by model
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Lists for each name that clients may use (models and aliases) where it is served, and how much of it.
  - It is the content of the file that M(gpufleet.ollama.endpoints_file) writes.
options:
  _input:
    description:
      - The endpoints by host, each as the filter P(gpufleet.ollama.plan_endpoints#filter) gives them and as the local
        facts of the host have them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where a model is served, from the facts of the hosts
  ansible.builtin.debug:
    msg: "{{ (dict(hosts | zip(entries)) | gpufleet.ollama.endpoints_document).models['llama3.1:8b'].endpoints }}"
  vars:
    hosts: [gpu1, gpu2]
    entries: "{{ hosts | map('extract', hostvars, ['ansible_local', 'ollama_multigpu']) }}"
"""

RETURN = r"""
_value:
  description:
    - C(version); C(hosts), as given; C(models), see M(gpufleet.ollama.endpoints_file).
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import document


def endpoints_document(hosts):
    """Return the endpoints of hosts by model."""
    try:
        return document(hosts)
    except ValueError as error:
        raise AnsibleFilterError(str(error))


class FilterModule:
    def filters(self):
        return {"endpoints_document": endpoints_document}
