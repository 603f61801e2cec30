#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write a report of all hosts to files on the controller
version_added: "1.0.0"
description:
  - Writes what the role C(gpufleet.ollama.ollama_multigpu) has read of the hosts of the play as one HTML file, which
    needs no network, and as Markdown and JSON of the same data beside it.
  - The report has every host, also those that failed or could not be reached, their GPUs with the memory that the plan
    predicts beside the memory that is observed, instances, models, endpoints, versions, settings, findings with
    remedies, what differs from the plan, and the verdicts and tokens per second of earlier runs.
  - It says what changed since the last report, whose JSON lies at the same place.
  - Everything that a host answered is text in it.
  - Use it with C(run_once).
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
    description: The files are written in check mode as well.
  diff_mode:
    support: none
options:
  path:
    description:
      - The path of the HTML file. It ends in C(.html); Markdown and JSON have the same path with C(.md) and C(.json).
      - A relative path is below the directory in which Ansible was started. Missing directories are created.
    type: str
    required: true
  complete:
    description:
      - Whether the run has come to its end. Hosts on which it did not are named as such.
    type: bool
    default: true
  changes_nothing:
    description:
      - Whether the run changes nothing, so that what it found to change is a difference from the plan. It is so in
        check mode.
    type: bool
    default: false
  benchmark_directory:
    description:
      - The directory in which M(gpufleet.ollama.benchmark_file) keeps benchmarks. The report draws the newest one of
        each host, and the tokens per second of the last 20.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Write the report
  gpufleet.ollama.report:
    path: /srv/www/gpu-fleet.html
  run_once: true
"""

RETURN = r"""
html:
  description: The path of the HTML file.
  returned: success
  type: str
  sample: /srv/www/gpu-fleet.html
markdown:
  description: The path of the Markdown.
  returned: success
  type: str
  sample: /srv/www/gpu-fleet.md
json:
  description: The path of the JSON.
  returned: success
  type: str
  sample: /srv/www/gpu-fleet.json
states:
  description: The number of hosts by state.
  returned: success
  type: dict
  sample: {"as planned": 7, "unreachable": 1}
"""

from ansible.module_utils.basic import AnsibleModule


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "path": {"type": "str", "required": True},
        "complete": {"type": "bool", "default": True},
        "changes_nothing": {"type": "bool", "default": False},
        "benchmark_directory": {"type": "str", "default": ""},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.fail_json(msg="report writes on the controller: use it as gpufleet.ollama.report in a task.")


if __name__ == "__main__":
    main()
