#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence_file
short_description: Write the evidence of a host to a file on the controller
version_added: "1.0.0"
description:
  - Writes what M(gpufleet.ollama.placement_check) returned to a file that is named after the host.
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
    description: In check mode the file is not written. The role writes it in check mode as well.
  diff_mode:
    support: none
options:
  directory:
    description:
      - The directory of the file. It is created if it is missing.
      - A relative path is below the directory in which Ansible was started.
    type: str
    required: true
  host:
    description:
      - The host's name in the inventory. The file has this name and the suffix C(.json).
      - A name that holds a slash or begins with a dot is refused.
    type: str
    required: true
  evidence:
    description:
      - The evidence. Without it, the module only looks whether the file can be written.
    type: dict
"""

EXAMPLES = r"""
- name: Check that the evidence can be written on the controller, before anything is changed
  gpufleet.ollama.evidence_file:
    directory: /srv/evidence
    host: "{{ inventory_hostname }}"

- name: Write the evidence
  gpufleet.ollama.evidence_file:
    directory: /srv/evidence
    host: "{{ inventory_hostname }}"
    evidence:
      verdict: "{{ checked.verdict }}"
      instances: "{{ checked.instances }}"
      diagnosis: "{{ checked.diagnosis }}"
"""

RETURN = r"""
path:
  description: The path of the file.
  returned: success
  type: str
  sample: /srv/evidence/node1.json
"""

from ansible.module_utils.basic import AnsibleModule


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "directory": {"type": "str", "required": True},
        "host": {"type": "str", "required": True},
        "evidence": {"type": "dict"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.fail_json(msg="evidence_file writes on the controller: use it as gpufleet.ollama.evidence_file in a task.")


if __name__ == "__main__":
    main()
