#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Keep the plan in force on a host: thin, see module_utils/host/history.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: plan_history
short_description: Keep the applied plan of a host for a rollback
version_added: "1.0.0"
description:
  - Copies the applied plan with its unit and environment files to C(/etc/ollama-multigpu/plans), and records its
    verdict and speed.
  - The copies of the environment files have the values of secret variables. Only root can read the directory.
  - Nothing is changed if O(number) is the last kept plan and its files are the same.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.idempotent
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  number:
    description:
      - Number of the plan. M(gpufleet.ollama.changes_info) returns it.
    type: int
    required: true
  verdict:
    description:
      - The verdict of M(gpufleet.ollama.placement_check).
    type: str
    choices: [pass, unproven]
    default: pass
  instances:
    description:
      - What M(gpufleet.ollama.placement_check) returned as RV(gpufleet.ollama.placement_check#module:instances). The
        tokens per second and the seconds of the last load of each model are recorded.
    type: list
    elements: dict
    default: []
  seconds_without_answer:
    description:
      - What M(gpufleet.ollama.instance_switch) returned as
        RV(gpufleet.ollama.instance_switch#module:seconds_without_answer), of all switches of the run.
    type: dict
    default: {}
  rolled_back_from:
    description:
      - Number of the plan that a rollback to this one has replaced.
    type: int
"""

EXAMPLES = r"""
- name: Check the host against its plan
  gpufleet.ollama.placement_check:
    plan: "{{ planned.placement }}"
  become: true
  register: evidence

- name: Keep the plan
  gpufleet.ollama.plan_history:
    number: 3
    verdict: "{{ evidence.verdict }}"
    instances: "{{ evidence.instances }}"
  become: true
"""

RETURN = r"""
number:
  description: Number of the plan.
  returned: always
  type: int
  sample: 3
path:
  description: Directory of the plan.
  returned: always
  type: str
  sample: /etc/ollama-multigpu/plans/3
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.slowdown import measured_loads, measured_speeds
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import history
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError


def main():
    module = AnsibleModule(
        argument_spec={
            "number": {"type": "int", "required": True},
            "verdict": {"type": "str", "choices": ["pass", "unproven"], "default": "pass"},
            "instances": {"type": "list", "elements": "dict", "default": []},
            "seconds_without_answer": {"type": "dict", "default": {}},
            "rolled_back_from": {"type": "int"},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    number = options["number"]
    if number < 1:
        module.fail_json(msg="number is %d: give the number of a plan, which is 1 or more." % number)
    kept = history.is_kept(number)
    if not kept and not module.check_mode:
        record = history.PlanRecord(
            number=number,
            order=1,
            time=history.now(),
            release="",
            verdict=options["verdict"],
            tokens_per_second=measured_speeds(options["instances"]),
            load_seconds=measured_loads(options["instances"]),
            seconds_without_answer=seconds(options["seconds_without_answer"]),
            rolled_back_from=options["rolled_back_from"],
        )
        files = Files(False, module.backup_local, lambda path: module.set_default_selinux_context(path, False))
        try:
            history.keep(files, record)
        except FilesError as error:
            module.fail_json(msg="The plan cannot be kept: %s." % str(error).rstrip("."))
    module.exit_json(changed=not kept, number=number, path=paths.kept_plan(number))


def seconds(given):
    """Return how long each instance gave no answer; what is no number is left out."""
    return {name: value for name, value in given.items() if isinstance(value, (int, float))}


if __name__ == "__main__":
    main()
