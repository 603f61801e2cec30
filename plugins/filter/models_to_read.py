# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: models_to_read
short_description: List the models whose headers a plan needs
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Returns the models, and after them the draft models that they name as C(speculative.draft).
  - M(gpufleet.ollama.placement_info) needs the header of each of them.
options:
  _input:
    description: The models that are wanted, as in O(gpufleet.ollama.placement_info#module:models).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the headers of the models and of their draft models
  gpufleet.ollama.model_info:
    name: "{{ item.name }}"
    source: registry
  loop: "{{ models | gpufleet.ollama.models_to_read }}"
  register: headers
"""

RETURN = r"""
_value:
  description:
    - The models as they were given.
    - A draft model that is not among them has C(name), and the C(insecure) and C(refresh) of its model.
  type: list
  elements: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.drafts import models_to_read


class FilterModule:
    def filters(self):
        return {"models_to_read": models_to_read}
