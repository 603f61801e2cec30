# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: unplanned_models
short_description: List the models that instances have and the plan does not
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Compares the models that each instance offers with those that the plan gave it.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  servers:
    description: What M(gpufleet.ollama.server_info) returned as RV(gpufleet.ollama.server_info#module:servers).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what is not planned
  ansible.builtin.debug:
    msg: "{{ planned.placement | gpufleet.ollama.unplanned_models(result.servers) }}"
"""

RETURN = r"""
_value:
  description: C(name) of the model, C(instance), C(url) and C(store).
  type: list
  elements: dict
"""

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse


def unplanned_models(plan, servers):
    """[{name, instance, url, store}] of the models in `servers` ({instance: server}) that `plan` does not give to that instance, nor needs to
    make one that it does."""
    found = []
    for instance in plan["instances"]:
        wanted = [
            parse(name)
            for model in instance["models"]
            for name in (model["name"], model.get("from"), model.get("create_as"))
            if name
        ]
        for entry in servers.get(instance["name"], {}).get("models") or []:
            name = entry["name"]
            if not any(parse(name).same(other) for other in wanted):
                found.append(
                    {"name": name, "instance": instance["name"], "url": instance["url"], "store": instance["store"]}
                )
    return found


class FilterModule:
    def filters(self):
        return {"unplanned_models": unplanned_models}
