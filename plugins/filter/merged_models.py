# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: merged_models
short_description: Put several lists of models together
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Returns one list of the models of O(_input) and of the other lists, as the role ollama_multigpu does it with
    O(gpufleet.ollama.ollama_multigpu#role:main:ollama_multigpu_models) and the variables whose names begin so.
  - A model that several lists name is in it once, with the keys of all of them.
options:
  _input:
    description: The models that come first.
    type: list
    elements: dict
    required: true
  lists:
    description: The other lists, by the names of their variables. They are taken in the order of these names.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Put the models of all hosts and those of this group together
  ansible.builtin.debug:
    msg: "{{ ollama_multigpu_models | gpufleet.ollama.merged_models({'ollama_multigpu_models_chat': chat_models}) }}"
"""

RETURN = r"""
_value:
  description: The models.
  type: list
  elements: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_lists import merged_models


class FilterModule:
    def filters(self):
        return {"merged_models": merged_models}
