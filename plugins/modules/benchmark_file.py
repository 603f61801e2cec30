#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_file
short_description: Write a benchmark of a host to a file on the controller, and compare it with an earlier one
version_added: "1.0.0"
description:
  - Writes what M(gpufleet.ollama.benchmark_info) returned to a file that is named after the host and the time.
  - Says how it differs from the last file of the host, or from the one in O(compare_with), with the names of what else
    differs - the release, the plan, and its settings of each model.
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
    description: In check mode the file is not written.
  diff_mode:
    support: none
options:
  directory:
    description:
      - The directory of the files. It is created if it is missing. Without it, nothing is written.
      - A relative path is below the directory in which Ansible was started.
    type: str
    default: ""
  host:
    description:
      - The host's name in the inventory, with which the name of the file begins.
      - A name that holds a slash or begins with a dot is refused.
    type: str
    required: true
  benchmark:
    description:
      - The benchmark. Without it, the module only looks whether the file can be written, and the earlier one be read.
    type: dict
  untouched:
    description:
      - The same models on an untouched Ollama, as M(gpufleet.ollama.benchmark_untouched) returns them. They are kept in
        the same file, and the plan is compared with them.
    type: dict
  time:
    description:
      - The time of the run, as an earlier task of it returned it. The file of that task is written again. Without it,
        it is the time of the task.
    type: str
    default: ""
  compare_with:
    description:
      - An earlier file on the controller. Without it, it is the last one of the host in O(directory).
    type: str
    default: ""
  label:
    description:
      - What was measured, such as the reason. It is kept in the file and said with the results.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Keep the benchmark
  gpufleet.ollama.benchmark_file:
    directory: /srv/benchmarks
    host: "{{ inventory_hostname }}"
    benchmark: "{{ result.benchmark }}"
    label: after the new driver
"""

RETURN = r"""
path:
  description: The path of the file, empty without a directory.
  returned: success
  type: str
  sample: /srv/benchmarks/node1.20261129T130000Z.json
time:
  description: The time of the run.
  returned: success
  type: str
  sample: "2026-11-29T13:00:00Z"
compared_with:
  description: The path of the earlier file, empty without one.
  returned: success
  type: str
lines:
  description:
    - What was measured as sentences, with the middle half of the repeats in brackets and what has changed. A figure is
      as before where the middle halves overlap.
  returned: success
  type: list
  elements: str
untouched_lines:
  description: The same of what is in O(untouched), beside the plan.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "directory": {"type": "str", "default": ""},
        "host": {"type": "str", "required": True},
        "benchmark": {"type": "dict"},
        "untouched": {"type": "dict"},
        "time": {"type": "str", "default": ""},
        "compare_with": {"type": "str", "default": ""},
        "label": {"type": "str", "default": ""},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.fail_json(msg="benchmark_file writes on the controller: use it as gpufleet.ollama.benchmark_file in a task.")


if __name__ == "__main__":
    main()
