# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: gateway_files
short_description: Make the files of a gateway
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Makes the configuration of HAProxy and the files beside it from the variables of the role
    P(gpufleet.ollama.ollama_gateway#role) and the endpoints of GPU hosts.
options:
  _input:
    description: The variables of the role without C(ollama_gateway_), and C(host), the name of the gateway's host.
    type: dict
    required: true
  facts:
    description: The content of C(/etc/ansible/facts.d/ollama_multigpu.fact) by GPU host.
    type: dict
    required: true
  not_reached:
    description: GPU hosts that cannot be reached. Their O(facts) do not matter.
    type: list
    elements: str
    default: []
  before:
    description: The content of C(/etc/ollama-gateway/endpoints.json), from which the endpoints of such hosts are taken.
    type: str
    default: ""
  texts:
    description: The program C(lua) and the C(unit) of the role, and a C(certificate) or a C(ca) where there are any.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Put the files of the gateway in place
  gpufleet.ollama.instance_files:
    files: "{{ (settings | gpufleet.ollama.gateway_files(facts, texts)).files }}"
  become: true
"""

RETURN = r"""
_value:
  description:
    - C(files) and C(configurations), entries for M(gpufleet.ollama.instance_files); C(packages) and their C(programs);
      C(certificate), the path and the names of one that the host makes; C(shares_address); C(warnings), a sentence
      about each host that cannot be reached, and about each key with models that are not served.
    - C(problem) is the sentence about a mistake in the variables, in which case there is nothing else, or null.
  type: dict
"""

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.role import role_files
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError


def gateway_files(settings, facts, texts, not_reached=(), before=""):
    """Return the files of a gateway. A mistake is returned: the task has secrets and shows no error."""
    try:
        return dict(role_files(settings, {**facts, **dict.fromkeys(not_reached)}, texts, before), problem=None)
    except GatewayError as error:
        return {"problem": str(error)}


class FilterModule:
    def filters(self):
        return {"gateway_files": gateway_files}
