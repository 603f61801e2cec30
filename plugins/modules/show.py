#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Show a plan, changes or evidence in the terminal
version_added: "1.0.0"
description:
  - Prints what modules of this collection returned as lines for people, for the width of the terminal, with every
    stdout callback. The callback P(gpufleet.ollama.fleet#callback) decides itself how much of it is printed. With a
    callback whose standard output is JSON (C(json), C(jsonl)), the lines go to standard error.
  - Give one of O(plan), O(difference), O(evidence), O(switch), O(switched), O(diagnosis) and O(text). O(plan) and
    O(applied) may stand beside the others.
  - Control characters in what a host has answered are printed as escapes such as C(\\x1b).
  - Colours are used on a terminal only, and not with E(NO_COLOR). Where the output is not UTF-8, bars are drawn with
    ASCII characters. With C(-v) details are shown - UUIDs, each part of the memory, and what each setting does.
  - With C(no_log) nothing is printed.
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
  plan:
    description:
      - The plan of M(gpufleet.ollama.placement_info).
    type: dict
  applied:
    description:
      - The plan in force, empty where there is none. What differs from it is said in words.
    type: dict
    default: {}
  difference:
    description:
      - What M(gpufleet.ollama.changes_info) returned for O(plan).
    type: dict
  evidence:
    description:
      - What M(gpufleet.ollama.placement_check) returned.
    type: dict
  switch:
    description:
      - A switch of instances that begins, with its C(title) and C(why), which is a list of sentences.
    type: dict
  switched:
    description:
      - What M(gpufleet.ollama.instance_switch) returned, also where it failed.
    type: dict
  diagnosis:
    description:
      - What M(gpufleet.ollama.diagnosis_info) returned.
    type: dict
  text:
    description:
      - Sentences.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the plan
  gpufleet.ollama.show:
    plan: "{{ planned.placement }}"

- name: Show what a run changes, and why
  gpufleet.ollama.show:
    difference: "{{ compared }}"
    plan: "{{ planned.placement }}"
    applied: "{{ read.host.applied_plan }}"

- name: Show the evidence
  gpufleet.ollama.show:
    evidence: "{{ checked }}"
    plan: "{{ planned.placement }}"
"""

RETURN = r"""
lines:
  description: The lines, without colours.
  returned: success
  type: list
  elements: str
short:
  description: The same in few lines; the callback P(gpufleet.ollama.fleet#callback) prints these.
  returned: success
  type: list
  elements: str
drawing:
  description: The C(lines) and C(short) with what each piece of a line is, for the callback.
  returned: with the callback P(gpufleet.ollama.fleet#callback)
  type: dict
overview:
  description:
    - What a summary of all hosts needs of it. C(kind) is the option that is shown.
    - Of a plan C(gpus) (with C(weights), C(kv), C(compute), C(others) and C(total) in bytes), C(served) (addresses and
      models) and C(in_force) (whether it differs from O(applied)), of a difference the number of C(changes), of
      evidence the C(verdict) and the bytes C(observed) by GPU, of a diagnosis C(findings), which is their number by
      confidence.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule


def argument_spec():
    """The options, apart from the documentation so that the action plugin can check them."""
    return {
        "plan": {"type": "dict", "no_log": True},
        "applied": {"type": "dict", "default": {}, "no_log": True},
        "difference": {"type": "dict", "no_log": True},
        "evidence": {"type": "dict", "no_log": True},
        "switch": {"type": "dict", "no_log": True},
        "switched": {"type": "dict", "no_log": True},
        "diagnosis": {"type": "dict", "no_log": True},
        "text": {"type": "list", "elements": "str"},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.fail_json(msg="show prints on the controller: use it as gpufleet.ollama.show in a task.")


if __name__ == "__main__":
    main()
