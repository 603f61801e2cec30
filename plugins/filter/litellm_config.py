# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: litellm_config
short_description: Make a configuration of LiteLLM from the endpoints of a fleet
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Each instance that serves a model, or an alias, is a deployment of it. It gets as many requests at once as it has
    slots, and the replica with the fewest requests under way gets the next one.
options:
  _input:
    description:
      - What M(gpufleet.ollama.endpoints_file) writes, or the filter P(gpufleet.ollama.endpoints_document#filter) gives.
    type: dict
    required: true
  here:
    description:
      - The host on which LiteLLM runs, where it is one of the GPU hosts. Instances that only their own hosts reach are
        left out otherwise.
    type: str
"""

EXAMPLES = r"""
- name: Write the configuration of LiteLLM
  ansible.builtin.copy:
    content: "{{ lookup('ansible.builtin.file', 'endpoints.json') | from_json | gpufleet.ollama.litellm_config
      | to_nice_yaml }}"
    dest: /etc/litellm/config.yaml
    mode: "0644"
"""

RETURN = r"""
_value:
  description:
    - C(model_list) and C(router_settings), as LiteLLM's proxy and its Router take them.
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils import proxies


def litellm_config(document, here=None):
    """Return a configuration of LiteLLM."""
    try:
        return proxies.litellm_config(document, here)
    except ValueError as error:
        raise AnsibleFilterError(str(error))


class FilterModule:
    def filters(self):
        return {"litellm_config": litellm_config}
