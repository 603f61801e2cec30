# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: headers_to_read
short_description: List the models whose headers have to be read on the host
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Compares what M(gpufleet.ollama.model_info) read from a registry with the models that a host has already.
  - A model that the host has with another digest or header, or that no registry has, is listed. Its plan is made from
    the model on the host, which M(gpufleet.ollama.model_info) reads with
    O(gpufleet.ollama.model_info#module:source=store).
options:
  _input:
    description: What M(gpufleet.ollama.model_info) returned for the models, as a list.
    type: list
    elements: dict
    required: true
  models:
    description: The models that are wanted, with C(name) and optionally C(digest) and C(refresh).
    type: list
    elements: dict
    required: true
  host:
    description: What M(gpufleet.ollama.host_info) returned as RV(gpufleet.ollama.host_info#module:host).
    type: dict
    required: true
  models_dir:
    description: Directory that contains the stores of the instances.
    type: str
    required: true
  refresh:
    description:
      - Whether models are refreshed that do not say it with C(refresh). The plan of such a model is made from what the
        registry offers, and the model on the host is not listed. Models with C(digest) are not refreshed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read the headers of models that differ on the host
  gpufleet.ollama.model_info:
    name: "{{ item.name }}"
    source: store
    store: "{{ item.store }}"
  become: true
  loop: "{{ headers | gpufleet.ollama.headers_to_read(models, read.host, '/var/lib/ollama-multigpu') }}"
  register: held
"""

RETURN = r"""
_value:
  description: The models, with C(name) and the C(store) that has it.
  type: list
  elements: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.headers_to_read import headers_to_read


class FilterModule:
    def filters(self):
        return {"headers_to_read": headers_to_read}
