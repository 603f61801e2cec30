# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: with_secrets
short_description: Put the values of secret variables into environment files
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Takes the files that M(gpufleet.ollama.changes_info) returned and puts the values of secret variables in the place
    of what hides them. Only environment files of instances are changed.
options:
  _input:
    description: The files, with the options of M(gpufleet.ollama.instance_files).
    type: list
    elements: dict
    required: true
  values:
    description: The values by the names of the variables. It may have more names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the files that differ from the plan
  gpufleet.ollama.instance_files:
    files: "{{ compared.work.switches[0].files | gpufleet.ollama.with_secrets(ollama_multigpu_environment) }}"
  become: true
"""

RETURN = r"""
_value:
  description: The files.
  type: list
  elements: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.wanted_files import filled_files


class FilterModule:
    def filters(self):
        return {"with_secrets": filled_files}
