#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnosis_info
short_description: Find out why Ollama is slow, uses one GPU or none, or answers wrongly
version_added: "1.0.0"
description:
  - Checks the driver, the GPUs, the kernel log, every Ollama server of the host with its unit, environment and journal,
    the engines and their memory, the installed programs, other programs on the GPUs, and the memory of the host.
  - Works also on hosts where the role ollama_multigpu never ran. If a plan was applied, the servers are compared with
    it.
  - It loads no model and changes nothing. It generates nothing, unless O(answers) asks for it.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests and nvidia-ml-py, which the collection brings along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  seconds:
    description:
      - How long the GPUs are watched. PCIe links and clocks are judged while a GPU computes, so use the host
        meanwhile.
    type: float
    default: 2.0
  answers:
    description:
      - Whether to ask each loaded model one question at temperature 0, and to report answers that no working model
        gives - values that are not numbers, one repeated token, characters that cannot be printed, and replicas that
        begin their answers differently. Embedding models are asked for a vector instead.
      - The quality of an answer is not judged.
    type: bool
    default: false
notes:
  - Processes of others, their environments and journals are read only with O(ignore:become).
"""

EXAMPLES = r"""
- name: Find out what is wrong
  gpufleet.ollama.diagnosis_info:
    seconds: 5
  become: true
  register: result

- name: Show what explains that a model runs on the CPU
  ansible.builtin.debug:
    msg: "{{ result.findings | selectattr('symptoms', 'contains', 'it runs on the CPU') }}"
"""

RETURN = r"""
findings:
  description:
    - What was found, the surest first. Each has the C(finding) (its kind), the C(evidence) (what was seen), the
      C(confidence), the C(remedy), the C(variable) of the role that applies it (empty if there is none), the
      C(subject) (UUID of a GPU, unit, or empty for the host) and the C(symptoms) that it explains.
    - C(confidence) is V(certain) (what was seen is the cause of what the finding says), V(likely) or V(possible) (it
      may be wanted, or have no effect).
    - The guide lists all kinds.
  returned: success
  type: list
  elements: dict
  sample:
    - finding: pcie_narrow
      evidence: the PCIe link of GPU 0 (RTX A6000) uses 4 of 16 lanes
      confidence: likely
      remedy: >-
        Check the slot (some have fewer lanes than their length), the riser and the seat of the board. Until then,
        models load slowly, and so does each copy between GPUs.
      variable: ""
      subject: GPU-5b9a7a5e-8f2e-4f0e-9d0a-0d0c1f6f0a01
      symptoms: [it is slow]
looked_at:
  description: Sentences on what the host has.
  returned: success
  type: list
  elements: str
lines:
  description: The findings as sentences, with the symptoms that each can explain, and how many there are.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      pcie_narrow (likely): the PCIe link of GPU 0 (RTX A6000) uses 4 of 16 lanes. This can explain: it is slow. Check
      the slot (some have fewer lanes than their length), the riser and the seat of the board. Until then, models load
      slowly, and so does each copy between GPUs.
    - 1 finding (1 likely).
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import diagnosis
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.collect import collect

_LONGEST_WATCH = 600


def main():
    module = AnsibleModule(
        argument_spec={"seconds": {"type": "float", "default": 2.0}, "answers": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    options = take_options(module)
    seconds = options["seconds"]
    if not 0 <= seconds <= _LONGEST_WATCH:
        module.fail_json(msg="seconds is %g: give a number from 0 to %d." % (seconds, _LONGEST_WATCH))
    try:
        evidence = collect(seconds, asks=options["answers"])
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    found = diagnosis.findings(evidence)
    module.exit_json(changed=False, lines=diagnosis.lines(evidence, found), **diagnosis.as_data(evidence, found))


if __name__ == "__main__":
    main()
