# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: model_steps
short_description: List what to do for the models of a plan
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Turns a plan into the arguments of M(gpufleet.ollama.model), one entry for each model of each instance in the order in which they can be run -
    first the model itself, then the optimized model that is made from it.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  stores:
    description: Further stores on the host that models may be linked from.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: See to it that every instance has its models
  gpufleet.ollama.model:
    name: "{{ item.name }}"
    url: "{{ item.url }}"
    store: "{{ item.store }}"
    link_from: "{{ item.link_from }}"
  loop: "{{ planned.placement | gpufleet.ollama.model_steps }}"
"""

RETURN = r"""
_value:
  description: For each step C(name), C(instance), C(url), C(store), C(link_from), C(from), C(digest), C(insecure), C(parameters), C(system),
    C(template), C(keep_alive) and C(served) (whether clients use this model). C(from) is empty for a model that is pulled.
  type: list
  elements: dict
"""


def model_steps(plan, stores=()):
    """Steps for the models of `plan`; `stores` are further directories to link from."""
    planned = [instance["store"] for instance in plan["instances"]]
    steps = []
    for instance in plan["instances"]:
        others = [store for store in planned + list(stores) if store != instance["store"]]
        common = {"instance": instance["name"], "url": instance["url"], "store": instance["store"], "link_from": others}
        done = set()
        for model in instance["models"]:
            optimized = bool(model.get("create_as"))
            if model["name"] not in done:
                done.add(model["name"])
                steps.append(dict(common, name=model["name"], **{
                    "from": "", "digest": model.get("digest") or "", "insecure": bool(model.get("insecure")), "parameters": {}, "system": "", "template": "",
                    "keep_alive": model["keep_alive"], "served": not optimized}))
            if optimized:
                steps.append(dict(common, name=model["create_as"], **{
                    "from": model.get("from") or model["name"], "digest": "", "insecure": bool(model.get("insecure")),
                    "parameters": model.get("parameters") or {}, "system": model.get("system") or "", "template": model.get("template") or "",
                    "keep_alive": model["keep_alive"], "served": True}))
    return steps


class FilterModule:
    def filters(self):
        return {"model_steps": model_steps}
