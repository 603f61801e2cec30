#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: plan_file
short_description: Write the plan of a host and a summary of all hosts on the controller
version_added: "1.0.0"
description:
  - Writes the plan of a host, the plan in force and the changes between them to C(plans/NAME.json).
  - Writes what changes on all hosts of the play, and why, to C(summary.md), which is made for the comment on a pull
    request, and to C(summary.json). Values of hosts are text in it and no markup. The same hosts give the same files.
  - Says in a sentence whether the host differs from its plan.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.on_controller
  - gpufleet.ollama.attributes.record
attributes:
  check_mode:
    support: full
    description: In check mode no file is written. The role writes them in check mode as well.
  diff_mode:
    support: none
options:
  directory:
    description:
      - The directory of the files. It is created if it is missing.
      - A relative path is below the directory in which Ansible was started.
      - Without it, nothing is written.
    type: str
    default: ""
  host:
    description:
      - The host's name in the inventory. The file of its plan has this name.
      - A name that holds a slash or begins with a dot is refused.
    type: str
    required: true
  hosts:
    description:
      - Names of all hosts of the play. The summary is about those of them that have written their plans.
    type: list
    elements: str
    default: []
  plan:
    description:
      - The plan of M(gpufleet.ollama.placement_info). Empty where there is none yet, or it cannot be made. The summary
        says then that the host has no plan.
    type: dict
    default: {}
  difference:
    description:
      - What M(gpufleet.ollama.changes_info) returned for O(plan).
    type: dict
    default: {}
  read:
    description:
      - What M(gpufleet.ollama.host_info) returned as RV(gpufleet.ollama.host_info#module:host).
    type: dict
    default: {}
  gpu_inventory:
    description:
      - The fact of M(gpufleet.ollama.gpu_facts), which the plan was made from.
    type: dict
    default: {}
  settings:
    description:
      - The variables of the role, by their full names. Those that change the host and are in no plan are written with
        the plan, without user names, passwords and queries in addresses, and compared with O(reviewed).
    type: dict
    default: {}
  reviewed:
    description:
      - The path of a plan of this host that was written before. Nothing is written then. The plan is returned as
        RV(plan), and RV(obstacles) says what has changed since.
      - A relative path is below the directory in which Ansible was started.
    type: str
    default: ""
  obstacles:
    description:
      - Sentences that say why there is no plan.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Write the plan of the host and the summary of all hosts
  gpufleet.ollama.plan_file:
    directory: plans-of-this-change
    host: "{{ inventory_hostname }}"
    hosts: "{{ ansible_play_hosts_all }}"
    plan: "{{ planned.placement }}"
    difference: "{{ compared }}"
    settings: "{{ variables_of_the_role }}"
    read: "{{ read.host }}"
  register: written

- name: Read the plan that was reviewed, and compare the host with it
  gpufleet.ollama.plan_file:
    reviewed: "plans-of-this-change/plans/{{ inventory_hostname }}.json"
    host: "{{ inventory_hostname }}"
    plan: "{{ planned.placement }}"
    settings: "{{ variables_of_the_role }}"
    read: "{{ read.host }}"
    gpu_inventory: "{{ ansible_facts.gpu_inventory }}"
  register: reviewed

- name: Fail if the host differs from its plan
  ansible.builtin.fail:
    msg: "{{ written.differs }}"
  when: written.differs | length > 0
"""

RETURN = r"""
state:
  description:
    - V(same) if nothing would be changed, V(differs) if something would, V(refused) if the plan cannot be applied, and
      V(unplanned) if there is no plan.
  returned: without O(reviewed)
  type: str
  sample: differs
differs:
  description: The sentence that says in what the host differs from its plan. Empty where it does not.
  returned: without O(reviewed)
  type: str
plan:
  description: The plan that was written before.
  returned: with O(reviewed)
  type: dict
obstacles:
  description: What has changed since that plan was written. Empty if it can be applied.
  returned: with O(reviewed)
  type: list
  elements: str
msg:
  description: All obstacles as one text.
  returned: with O(reviewed)
  type: str
path:
  description: The path of the plan of the host.
  returned: with O(directory)
  type: str
  sample: /srv/review/plans/node1.json
summary:
  description: The path of the summary for people.
  returned: with O(directory)
  type: str
  sample: /srv/review/summary.md
"""

from ansible.module_utils.basic import AnsibleModule


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "directory": {"type": "str", "default": ""},
        "host": {"type": "str", "required": True},
        "hosts": {"type": "list", "elements": "str", "default": []},
        "plan": {"type": "dict", "default": {}, "no_log": True},
        "difference": {"type": "dict", "default": {}, "no_log": True},
        "read": {"type": "dict", "default": {}, "no_log": True},
        "gpu_inventory": {"type": "dict", "default": {}},
        "settings": {"type": "dict", "default": {}, "no_log": True},
        "reviewed": {"type": "str", "default": ""},
        "obstacles": {"type": "list", "elements": "str", "default": []},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.fail_json(msg="plan_file writes on the controller: use it as gpufleet.ollama.plan_file in a task.")


if __name__ == "__main__":
    main()
