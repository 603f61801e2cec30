# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: own_files_to_read
short_description: List the files of your own whose headers a plan needs
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Returns where the files are that models come from (C(source)) and those of their LoRA adapters
    (C(optimized.adapters)).
  - M(gpufleet.ollama.placement_info) needs the header of each of them.
options:
  _input:
    description: The models that are wanted, as in O(gpufleet.ollama.placement_info#module:models).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the headers of the files on the controller
  gpufleet.ollama.model_info:
    name: "{{ item.name }}"
    adapter: "{{ item.adapter }}"
    source: file
    path: "{{ item.source.file }}"
    hash: true
  loop: "{{ models | gpufleet.ollama.own_files_to_read | selectattr('source.file', 'defined') }}"
  delegate_to: localhost
  register: headers
"""

RETURN = r"""
_value:
  description:
    - For each file the C(name) of its model, C(source) as it was given, and C(adapter), whether it is one.
  type: list
  elements: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.own_adapters import own_files_to_read


class FilterModule:
    def filters(self):
        return {"own_files_to_read": own_files_to_read}
