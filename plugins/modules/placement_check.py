#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: placement_check
short_description: Check that models lie on the GPUs that the plan named
version_added: "1.0.0"
description:
  - Compares a plan of M(gpufleet.ollama.placement_info) with what the driver, the servers and the engines' logs say, and fails with a
    diagnosis where they differ.
  - The proof is the memory that NVML reports by process and GPU. The line C(offloaded 49/49 layers to GPU) and a C(size_vram) that equals C(size)
    were both seen on hosts where everything ran on the CPU. They can fail a model, but not pass it.
  - What the plan wants loaded is loaded first, which is not a change. Nothing is ever evicted for that.
  - One short generation a model is run while the GPUs are watched.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests and nvidia-ml-py on the host, or on the controller, which sends its copies along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
    details: Nothing is loaded and nothing is generated in check mode. What is loaded is judged by its memory.
  diff_mode:
    support: none
  platform:
    platforms: linux
options:
  plan:
    description:
      - The plan, as M(gpufleet.ollama.placement_info) returns it and as it lies in C(/etc/ollama-multigpu/plan.json).
    type: dict
    required: true
  load:
    description:
      - Load the models that the plan names and that are not loaded. Never done in check mode.
    type: bool
    default: true
  timeout:
    description:
      - Seconds without any progress after which a load or a generation is given up, not a limit on a whole load.
    type: float
    default: 300.0
notes:
  - Reading other users' processes needs O(ignore:become).
"""

EXAMPLES = r"""
- name: Prove that the plan holds
  gpufleet.ollama.placement_check:
    plan: "{{ result.placement }}"
  become: true

- name: Judge only what is loaded already
  gpufleet.ollama.placement_check:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    load: false
  become: true
"""

RETURN = r"""
verdict:
  description: V(pass), or V(fail) when a check of any model failed. The task fails then.
  type: str
  returned: always
  sample: pass
instances:
  description: The evidence, by instance and model.
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
        - Each with C(name), C(layers_offloaded), C(layers_total), C(tokens_per_second) and C(load_seconds).
        - Its C(checks) have C(name), C(passed) (null where the host cannot tell), C(expected) and C(observed).
        - Its C(devices) have C(uuid), C(predicted_bytes), C(engine_bytes) (the engine's own dry run, or its buffers where it printed none),
          C(observed_bytes) (NVML, by process) and C(utilization_peak) in percent.
      type: list
      elements: dict
diagnosis:
  description: What is wrong, most telling first for each model.
  type: list
  elements: dict
  returned: always
  contains:
    finding:
      description:
        - One of V(one_gpu_carries_all), V(layers_on_cpu), V(cpu_only), V(far_from_predicted), V(foreign_process), V(not_loaded),
          V(engine_died) and V(gpu_not_seen).
      type: str
    evidence:
      description: What was seen.
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
      evidence: GPU-1111 holds 64.1 GiB of llama4:16x17b-optimized, where it is planned over 2 GPUs
      remedy: Set OLLAMA_SCHED_SPREAD=1 in the environment of ollama@gpu0-1.service and restart it.
      instance: gpu0-1
      model: llama4:16x17b-optimized
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.collect import collect
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.judge import FAIL, judge
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.names import plan_problem
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError


def main():
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "load": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 300.0},
        },
        supports_check_mode=True,
    )
    plan, timeout = module.params["plan"], module.params["timeout"]
    problem = plan_problem(plan)
    if problem:
        module.fail_json(msg=problem)
    if timeout <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % timeout)
    try:
        evidence = collect(
            plan, load=module.params["load"] and not module.check_mode, generate=not module.check_mode, timeout=timeout
        )
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except OllamaError as error:
        module.fail_json(msg="The plan cannot be checked: %s." % error)
    result = judge(plan, evidence)
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
