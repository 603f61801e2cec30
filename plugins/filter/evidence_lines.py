# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: evidence_lines
short_description: Write evidence for people
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Says in lines of text what M(gpufleet.ollama.placement_check) found - a table of models and GPUs with the planned
    layers, the bytes predicted, those that the engine announced, those of CUDA context and projector, those observed
    with their limits, the verdict, and the diagnosis where there is one.
options:
  _input:
    description: The evidence.
    type: dict
    required: true
  host:
    description: Name of the host, for a first column.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the evidence
  ansible.builtin.debug:
    msg: "{{ checked | gpufleet.ollama.evidence_lines }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.evidence_lines import evidence_lines


class FilterModule:
    def filters(self):
        return {"evidence_lines": evidence_lines}
