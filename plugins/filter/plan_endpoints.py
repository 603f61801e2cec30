# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_endpoints
short_description: Take from a plan what clients need to know
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Lists where a host serves which model. The role keeps it on the host as a local fact, so that other playbooks can
    configure clients and proxies.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  default_address:
    description:
      - The default address of the host, as M(gpufleet.ollama.host_info) returns it. Clients use it where an instance
        listens on all addresses of the host.
    type: str
"""

EXAMPLES = r"""
- name: Show where the models are served
  ansible.builtin.debug:
    var: ansible_facts.ansible_local.ollama_multigpu.endpoints

- name: Take it from a plan
  ansible.builtin.debug:
    msg: "{{ planned.placement | gpufleet.ollama.plan_endpoints(info.host.default_address) }}"
"""

RETURN = r"""
_value:
  description:
    - C(ollama_version) and C(endpoints), each with C(instance), C(url) and C(address) for clients, C(listen_address),
      C(port), C(gpu_uuids), C(models) and C(aliases), which are the model of each alias.
    - C(url) and C(address) are null where an instance listens on all addresses of the host and none is known.
    - C(serves) of an endpoint has for each model C(name), C(names) (all that clients may use), C(slots),
      C(context_length), C(capabilities) and C(resident).
  type: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import plan_endpoints


class FilterModule:
    def filters(self):
        return {"plan_endpoints": plan_endpoints}
