#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run of the role would do to a host: thin, see module_utils/changes/."""

from __future__ import annotations

DOCUMENTATION = r"""
module: changes_info
short_description: Compare a host with its plan and list the changes of a run with their reasons
version_added: "1.0.0"
description:
  - Compares what M(gpufleet.ollama.host_info) and M(gpufleet.ollama.server_info) read with a plan of
    M(gpufleet.ollama.placement_info) and with the variables of the role ollama_multigpu.
  - Returns all changes with their reasons, in the order in which the role makes them, and the obstacles that prevent
    them.
  - Without O(plan), it returns the obstacles that are known before a plan is made. Without O(host), it only checks
    O(settings).
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
  settings:
    description:
      - The variables of the role, by their full names.
    type: dict
    required: true
  names:
    description:
      - Names of all variables with the prefix of the role. A name that is not in O(settings) is an obstacle, unless it
        is the name of a list of models.
    type: list
    elements: str
    default: []
  names_only:
    description:
      - Check only O(names). For playbooks that use few of the variables.
    type: bool
    default: false
  model_lists:
    description:
      - C(ollama_multigpu_models) as it was given and further lists of models, by the names of their variables.
        O(settings) has them as one list. Different values in two lists for a key of a model are an obstacle.
    type: dict
    default: {}
  host:
    description:
      - What M(gpufleet.ollama.host_info) returned as RV(gpufleet.ollama.host_info#module:host).
      - It must have been read with the models directory of the plan.
    type: dict
  secrets:
    description:
      - What M(gpufleet.ollama.host_info) returned as RV(gpufleet.ollama.host_info#module:secrets) - the values that
        O(host) hides.
    type: dict
    default: {}
  plan:
    description:
      - The plan.
    type: dict
  servers:
    description:
      - What M(gpufleet.ollama.server_info) returned for the plan as RV(gpufleet.ollama.server_info#module:servers).
    type: dict
    default: {}
  applied_plan:
    description:
      - The plan that was applied before. The default is the one that is in O(host).
    type: dict
    default: {}
  rollback_to:
    description:
      - Number of the plan in RV(gpufleet.ollama.host_info#module:host.history) to go back to, or V(previous) for the
        one before the plan in force.
      - Without O(plan), the module returns RV(rollback). With O(plan), which then is the kept plan, its models replace
        models that have the same names on the host now.
    type: raw
  kept_plan:
    description:
      - With O(rollback_to), the plan that M(gpufleet.ollama.host_info) returned as
        RV(gpufleet.ollama.host_info#module:kept_plan).
    type: dict
  gpu_inventory:
    description:
      - With O(kept_plan), the fact of M(gpufleet.ollama.gpu_facts).
    type: dict
  libraries:
    description:
      - The SHA-256 of the copies of the modules' Python libraries on the controller, by the name of the library. Null
        where the controller has none.
      - The action plugin sets this option.
    type: dict
    default: {}
  program:
    description:
      - The SHA-256 over the files of the program that M(gpufleet.ollama.program_file) installs.
      - The action plugin sets this option.
    type: str
"""

EXAMPLES = r"""
- name: Compare a host with its plan
  gpufleet.ollama.changes_info:
    settings:
      ollama_multigpu_version: 0.32.15
      ollama_multigpu_release_url: https://github.com/ollama/ollama/releases/download/v0.32.15
      ollama_multigpu_models_dir: /var/lib/ollama-multigpu
      ollama_multigpu_existing: refuse
      ollama_multigpu_listen_address: 127.0.0.1
    host: "{{ read.host }}"
    plan: "{{ planned.placement }}"
    servers: "{{ running.servers }}"
  register: compared

- name: Show what would be restarted, and why
  ansible.builtin.debug:
    msg: "{{ compared.changes | selectattr('kind', 'equalto', 'restart') }}"
"""

RETURN = r"""
obstacles:
  description: One sentence for each thing that keeps the plan from being applied; empty where there is none.
  returned: always
  type: list
  elements: str
msg:
  description: All obstacles as one text.
  returned: always
  type: str
changes:
  description:
    - What a run changes, in order.
  returned: when O(plan) is given and nothing is wrong with O(settings)
  type: list
  elements: dict
  contains:
    kind:
      description: What is done.
      type: str
      choices:
        - fetch
        - copy
        - carry_over
        - adopt
        - stop
        - create
        - remove
        - write
        - link
        - alias
        - enable
        - start
        - restart
        - delete
        - unload
        - load
        - prune
    object:
      description: What it is done to, for example V(release), V(user), V(file), V(instance), V(model) or V(store).
      type: str
    what:
      description: The path, the unit or the model.
      type: str
    instance:
      description: The instance that it belongs to; empty where it belongs to the host.
      type: str
    reason:
      description: Why, in one sentence.
      type: str
    stage:
      description: When a run makes it.
      type: str
      choices: [install, fetch, switch, finish, history, prune]
    details:
      description: What else a task needs to know.
      type: dict
  sample:
    - kind: restart
      object: instance
      what: ollama@gpu0.service
      instance: gpu0
      reason: OLLAMA_KV_CACHE_TYPE of the process is not what the plan says.
      stage: switch
      details: {}
summary:
  description: The same for people, a line for each change, with warnings first.
  returned: when O(plan) is given and nothing is wrong with O(settings)
  type: list
  elements: str
work:
  description:
    - The same as the tasks of the role take it, with the content of the files that differ. The filter
      P(gpufleet.ollama.with_secrets#filter) puts the values of secret variables into them.
  returned: when O(plan) is given and nothing is wrong with O(settings)
  type: dict
adoption_record:
  description:
    - What the role writes down of an Ollama before it takes it over. The values of secret variables are hidden.
  returned: when O(plan) is given and nothing is wrong with O(settings)
  type: dict
release:
  description:
    - Where the release comes from and where it is put - C(version), C(directory), C(archive), C(url) and C(checksum).
    - User names, passwords and queries in addresses are blanked.
  returned: when O(host) is given and nothing is wrong with O(settings)
  type: dict
rollback:
  description:
    - The plan to go back to, with C(number) (null if there is none), C(rolled_back_from) (number of the plan that is
      given up for it, or null) and C(note) (what to know of the choice).
    - With O(kept_plan), C(settings) has the variables of the role that it takes the place of. Use O(ignore:no_log) with
      it, because the address of the release may hold a password.
  returned: when O(rollback_to) is given, O(plan) is not, and nothing is wrong with O(settings)
  type: dict
plan_input:
  description:
    - What the host adds to the input of its plan - the C(environment) that is carried over from an adopted Ollama,
      C(own_units), and the C(stores) in which the engine may find models.
  returned: when O(host) is given, O(plan) is not, and there are no obstacles
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.module_result import answer
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "settings": {"type": "dict", "required": True, "no_log": True},
        "names": {"type": "list", "elements": "str", "default": []},
        "names_only": {"type": "bool", "default": False},
        "model_lists": {"type": "dict", "default": {}, "no_log": True},
        "host": {"type": "dict", "no_log": True},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
        "plan": {"type": "dict", "no_log": True},
        "servers": {"type": "dict", "default": {}},
        "applied_plan": {"type": "dict", "default": {}, "no_log": True},
        "rollback_to": {"type": "raw"},
        "kept_plan": {"type": "dict", "no_log": True},
        "gpu_inventory": {"type": "dict"},
        "libraries": {"type": "dict", "default": {}},
        "program": {"type": "str"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.exit_json(**answer(take_options(module), "the host", module.check_mode))


if __name__ == "__main__":
    main()
