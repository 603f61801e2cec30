#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wait until started instances answer: thin, see module_utils/evidence/readiness.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_ready
short_description: Wait until Ollama instances that were started answer
version_added: "1.0.0"
description:
  - Waits in one execution until each instance answers.
  - Stops waiting for an instance as soon as systemd says that its service failed or was started again, and fails with
    the reason, a remedy and the last lines of its journal.
  - Values of the environment of a service that may be secrets, and credentials in addresses, are hidden in these lines.
  - It starts no service and changes nothing.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: linux
options:
  instances:
    description:
      - The instances to wait for.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description:
          - The systemd unit, such as V(ollama@gpu0.service).
        type: str
        required: true
      url:
        description:
          - Address of the server.
        type: str
        required: true
  timeout:
    description:
      - Seconds to wait for each instance. A server accepts connections before it has found the GPUs, which may take
        half a minute.
    type: float
    default: 180.0
notes:
  - Reading the journal requires O(ignore:become).
"""

EXAMPLES = r"""
- name: Wait until the instances answer
  gpufleet.ollama.instance_ready:
    instances:
      - unit: ollama@gpu0.service
        url: http://127.0.0.1:11434
  become: true
"""

RETURN = r"""
instances:
  description:
    - The instances in the order of O(instances), with C(unit), C(url), C(version) (null if it does not answer) and
      C(problem) (null if it answers).
  type: list
  elements: dict
  returned: always
  sample:
    - unit: ollama@gpu0.service
      url: http://127.0.0.1:11434
      version: 0.32.15
      problem: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.readiness import wait_for
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import InvalidUrl


def main():
    instance = {"unit": {"type": "str", "required": True}, "url": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "instances": {"type": "list", "elements": "dict", "required": True, "options": instance},
            "timeout": {"type": "float", "default": 180.0},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    timeout = options["timeout"]
    if timeout <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % timeout)
    try:
        found = wait_for(options["instances"], timeout)
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except InvalidUrl as error:
        module.fail_json(msg="%s." % error)
    problems = [one["problem"] for one in found if one["problem"]]
    if problems:
        module.fail_json(msg=" ".join(problems), instances=found)
    module.exit_json(changed=False, instances=found)


if __name__ == "__main__":
    main()
