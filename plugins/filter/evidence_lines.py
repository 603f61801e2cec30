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
    layers, the bytes predicted, those that the engine announced, those observed with their limits, the verdict, the
    checks that did not pass, and the diagnosis where there is one.
  - M(gpufleet.ollama.show) prints the same.
options:
  _input:
    description: The evidence.
    type: dict
    required: true
  host:
    description: Name of the host, for the first line.
    type: str
    default: ""
  width:
    description: Columns of a line. Tables may be wider.
    type: int
    default: 80
  plan:
    description: The plan, for the numbers of the GPUs. Without it, their UUIDs are shown.
    type: dict
    default: {}
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

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.evidence_table import evidence_table
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import gpu_labels
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import for_people
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawn


@for_people("evidence of placement_check")
def evidence_lines(evidence, host="", width=80, plan=None):
    """Return the lines of evidence."""
    style = Style(width=width)
    return drawn(style, evidence_table(evidence, style, host, gpu_labels(plan or {})))


class FilterModule:
    def filters(self):
        return {"evidence_lines": evidence_lines}
