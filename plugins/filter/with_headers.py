# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: with_headers
short_description: Join the role's models with the headers that were read for them
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Adds to each entry of C(ollama_multigpu_models) the result of M(gpufleet.ollama.model_info) for it, as M(gpufleet.ollama.placement_info) takes it.
options:
  _input:
    description: The entries.
    type: list
    elements: dict
    required: true
  results:
    description: The results of the loop over the entries.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Plan
  gpufleet.ollama.placement_info:
    gpu_inventory: "{{ ansible_facts.gpu_inventory }}"
    models: "{{ ollama_multigpu_models | gpufleet.ollama.with_headers(headers.results) }}"
    ollama_version: 0.32.15
"""

RETURN = r"""
_value:
  description: The entries with C(model).
  type: list
  elements: dict
"""


def with_headers(models, results):
    """`models` with the header of each one; `results` are in the same order."""
    return [dict(model, model=result["model"]) for model, result in zip(models, results)]


class FilterModule:
    def filters(self):
        return {"with_headers": with_headers}
