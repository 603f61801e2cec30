#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: placement_check
short_description: Check that models are on the GPUs of the plan
version_added: "1.0.0"
description:
  - Compares a plan of M(gpufleet.ollama.placement_info) with the driver, the servers and the logs of the engines, and
    fails with a diagnosis if they differ.
  - A model passes by the memory that NVML reports per process and GPU. The log line C(offloaded 49/49 layers to GPU)
    and a C(size_vram) equal to C(size) were both seen on hosts where everything ran on the CPU. They can make a model
    fail, but not pass.
  - Models of the plan that are not loaded are loaded first, which does not count as a change. No other model is
    unloaded for them.
  - One short generation is run per model while the GPUs are observed.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests and nvidia-ml-py, which the collection brings along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
    details: Nothing is loaded and nothing is generated in check mode. Models that are loaded are judged by their
      memory.
  diff_mode:
    support: none
  platform:
    platforms: linux
options:
  plan:
    description:
      - The plan as M(gpufleet.ollama.placement_info) returns it and C(/etc/ollama-multigpu/plan.json) contains it.
    type: dict
    required: true
  load:
    description:
      - Whether to load the models of the plan that are not loaded. In check mode nothing is loaded.
    type: bool
    default: true
  timeout:
    description:
      - Seconds without progress after which a load or a generation fails. A whole load may take longer.
    type: float
    default: 300.0
notes:
  - Reading the processes of other users requires O(ignore:become).
"""

EXAMPLES = r"""
- name: Check the host against the plan
  gpufleet.ollama.placement_check:
    plan: "{{ result.placement }}"
  become: true

- name: Check only the models that are loaded already
  gpufleet.ollama.placement_check:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    load: false
  become: true
"""

RETURN = r"""
verdict:
  description: V(pass), or V(fail) if a check of any model failed. The task fails in that case.
  type: str
  returned: always
  sample: pass
instances:
  description: The evidence per instance and model.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the instance.
      type: str
    unit:
      description: Its systemd unit.
      type: str
    url:
      description: Address of its server.
      type: str
    models:
      description:
        - Each has C(name), C(layers_offloaded), C(layers_total), C(tokens_per_second) and C(load_seconds).
        - Each of its C(checks) has C(name), C(passed) (null if the host does not report it), C(expected) and
          C(observed).
        - Each of its C(devices) has C(uuid), C(predicted_bytes), C(engine_bytes) (what the engine printed before or
          while it loaded the model), C(observed_bytes) (what NVML reports for its process) and C(utilization_peak) in
          percent.
      type: list
      elements: dict
diagnosis:
  description: What is wrong. For each model the most likely cause comes first.
  type: list
  elements: dict
  returned: always
  contains:
    finding:
      description:
        - One of V(one_gpu_carries_all), V(layers_on_cpu), V(cpu_only), V(far_from_predicted), V(foreign_process),
          V(not_loaded), V(engine_died) and V(gpu_not_seen).
      type: str
    evidence:
      description: What was observed.
      type: str
    remedy:
      description: What to do.
      type: str
    instance:
      description: Name of the instance.
      type: str
    model:
      description: Name of the model.
      type: str
  sample:
    - finding: one_gpu_carries_all
      evidence: GPU-1111 holds 64.1 GiB of llama4:16x17b-optimized, which is planned over 2 GPUs
      remedy: Set OLLAMA_SCHED_SPREAD=1 in the environment of ollama@gpu0-1.service and restart it.
      instance: gpu0-1
      model: llama4:16x17b-optimized
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import FAIL, check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.collect import collect
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.planned import plan_problem
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError


def main():
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True, "no_log": True},
            "load": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 300.0},
        },
        supports_check_mode=True,
    )
    # no_log keeps the environment in the plan out of the host's log. It would also mask words of it in the result.
    module.no_log_values.clear()
    plan, timeout = module.params["plan"], module.params["timeout"]
    problem = plan_problem(plan)
    if problem:
        module.fail_json(msg=problem)
    if timeout <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % timeout)
    try:
        observations = collect(
            plan, load=module.params["load"] and not module.check_mode, generate=not module.check_mode, timeout=timeout
        )
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except OllamaError as error:
        module.fail_json(msg="The plan cannot be checked: %s." % error)
    result = dataclasses.asdict(check_plan(plan, observations))
    if result["verdict"] == FAIL:
        module.fail_json(msg=summary(result), **result)
    module.exit_json(changed=False, **result)


def summary(result):
    """Return one sentence on the first finding, with its remedy, and how many more there are."""
    if not result["diagnosis"]:
        failed = [
            (model["name"], check)
            for instance in result["instances"]
            for model in instance["models"]
            for check in model["checks"]
            if check["passed"] is False
        ]
        name, check = failed[0]
        return "%s is not as planned: %s is %s instead of %s." % (
            name,
            check["name"],
            check["observed"],
            check["expected"],
        )
    first = result["diagnosis"][0]
    more = len(result["diagnosis"]) - 1
    return "Instance %s: %s (%s). %s%s" % (
        first["instance"],
        first["evidence"],
        first["finding"],
        first["remedy"],
        " There %s %d more in diagnosis." % ("is" if more == 1 else "are", more) if more else "",
    )


if __name__ == "__main__":
    main()
