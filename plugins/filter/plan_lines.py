# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_lines
short_description: Write a plan for people
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Says in lines of text what M(gpufleet.ollama.placement_info) planned - GPUs, models, instances, memory by device,
    what this version of Ollama
    would do without a plan, and warnings.
options:
  _input:
    description: The plan.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ planned.placement | gpufleet.ollama.plan_lines }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_lines import plan_lines


class FilterModule:
    def filters(self):
        return {"plan_lines": plan_lines}
