#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoints_file
short_description: Write the endpoints of a host to a file on the controller
version_added: "1.0.0"
description:
  - Writes which models a host serves, where, and how much of them, into a JSON file for all hosts. What the file has of
    other hosts stays.
  - Several hosts may be entered at the same time.
  - The file has C(version), C(hosts) (what was entered, by host) and C(models), which has for each name that clients
    may use (models and aliases) C(served_as), C(replicas), C(slots), C(context_length), C(capabilities) and
    C(endpoints), each with C(host), C(instance), C(url), C(slots), C(context_length) and C(host_only).
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.on_controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  path:
    description:
      - The path of the file. Its directory is created if it is missing.
      - A relative path is below the directory in which Ansible was started.
    type: path
    required: true
  host:
    description:
      - The host's name in the inventory.
    type: str
    required: true
  endpoints:
    description:
      - What the filter P(gpufleet.ollama.plan_endpoints#filter) gives for the applied plan of the host.
      - Without it, the module only looks whether the file can be read and written.
    type: dict
  known_hosts:
    description:
      - Names of all hosts of the inventory. What the file has of other hosts is left out.
      - By default the file keeps all hosts.
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(absent) the host is taken out of the file.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Enter what a host serves
  gpufleet.ollama.endpoints_file:
    path: /srv/ollama/endpoints.json
    host: "{{ inventory_hostname }}"
    endpoints: "{{ plan | gpufleet.ollama.plan_endpoints(ansible_facts.default_ipv4.address) }}"

- name: Take a host out
  gpufleet.ollama.endpoints_file:
    path: /srv/ollama/endpoints.json
    host: "{{ inventory_hostname }}"
    state: absent
"""

RETURN = r"""
path:
  description: The path of the file.
  returned: success
  type: str
  sample: /srv/ollama/endpoints.json
"""

from ansible.module_utils.basic import AnsibleModule


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "path": {"type": "path", "required": True},
        "host": {"type": "str", "required": True},
        "endpoints": {"type": "dict"},
        "known_hosts": {"type": "list", "elements": "str", "default": []},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.fail_json(msg="endpoints_file writes on the controller: use it as gpufleet.ollama.endpoints_file in a task.")


if __name__ == "__main__":
    main()
