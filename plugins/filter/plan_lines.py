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
  - Says in lines of text what M(gpufleet.ollama.placement_info) planned - GPUs with bars of their memory, models, what
    this version of Ollama would do without a plan, what the plan gains, and warnings.
  - M(gpufleet.ollama.show) prints the same.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  host:
    description: Name of the host, for the first line.
    type: str
    default: ""
  width:
    description: Columns of a line. Paths and digests are not broken.
    type: int
    default: 80
  details:
    description: Whether UUIDs, the parts of the memory and the effect of each setting are shown as well.
    type: bool
    default: false
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

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import for_people
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_table import plan_table
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawn


@for_people("plan of placement_info")
def plan_lines(plan, host="", width=80, details=False):
    """Return the lines of a plan."""
    style = Style(width=width, details=details)
    return drawn(style, plan_table(plan, style, host))


class FilterModule:
    def filters(self):
        return {"plan_lines": plan_lines}
