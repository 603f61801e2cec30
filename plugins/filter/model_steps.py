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
  applied:
    description: The plan that was applied before; empty where there is none.
    type: dict
    default: {}
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
    C(template), C(keep_alive), C(served) (whether clients use this model) and C(moved) (whether it was to lie otherwise on the same GPUs before, which only
    loading it again changes). C(from) is empty for a model that is pulled.
  type: list
  elements: dict
"""


def model_steps(plan, stores=(), applied=None):
    """Steps for the models of `plan`; `stores` are further directories to link from, `applied` is the plan before this one."""
    before = _layouts(applied or {})
    now = _layouts(plan)
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
                steps.append(
                    dict(
                        common,
                        name=model["name"],
                        **{
                            "from": "",
                            "digest": model.get("digest") or "",
                            "insecure": bool(model.get("insecure")),
                            "parameters": {},
                            "system": "",
                            "template": "",
                            "keep_alive": model["keep_alive"],
                            "served": not optimized,
                            "moved": not optimized and _moved(instance, model["name"], before, now),
                        },
                    )
                )
            if optimized:
                steps.append(
                    dict(
                        common,
                        name=model["create_as"],
                        **{
                            "from": model.get("from") or model["name"],
                            "digest": "",
                            "insecure": bool(model.get("insecure")),
                            "parameters": model.get("parameters") or {},
                            "system": model.get("system") or "",
                            "template": model.get("template") or "",
                            "keep_alive": model["keep_alive"],
                            "served": True,
                            "moved": _moved(instance, model["create_as"], before, now),
                        },
                    )
                )
    return steps


def _layouts(plan):
    """{(instance, model): its layers by GPU and its batch}: what a server decides when it loads a model and never again."""
    return {
        (instance["name"], model.get("create_as") or model["name"]): (
            [(device["uuid"], device.get("layers")) for device in model["predicted"]["devices"]],
            model["predicted"].get("ubatch"),
        )
        for instance in plan.get("instances") or []
        for model in instance["models"]
    }


def _moved(instance, name, before, now):
    key = (instance["name"], name)
    return key in before and before[key] != now[key]


class FilterModule:
    def filters(self):
        return {"model_steps": model_steps}
