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
  - A model passes by the memory that NVML reports on each GPU for the process of its own engine. The log line
    C(offloaded 49/49 layers to GPU) and a C(size_vram) equal to C(size) were both seen on hosts where everything ran on
    the CPU. They can make a model fail, but not pass.
  - If the driver or the host does not tell something that the proof needs, the verdict is V(unproven), and the
    diagnosis says what is missing. If NVML does not report the memory of processes, the memory in use on the whole GPU
    is an upper limit. It proves a model only if no other process on the GPU can hold this memory.
  - Weights and KV cache have to match almost exactly, because they are known exactly. The guide
    R(evidence, ansible_collections.gpufleet.ollama.docsite.evidence) lists the tolerances of all parts, and what cannot
    be detected.
  - Models of the plan that are not loaded are loaded first, which does not count as a change. No other model is
    unloaded for them. The progress of loads is shown on the controller.
  - Each model generates a short answer while the GPUs are observed. The result is stored below C(/run), for the checks
    of the program that M(gpufleet.ollama.program_file) installs, which do not generate.
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
      memory. The task does not fail for the verdict V(unproven).
  diff_mode:
    support: none
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
  unproven:
    description:
      - What to do if nothing contradicts the plan, but something that the proof needs is unknown.
      - V(fail) fails the task. V(accept) warns.
    type: str
    choices: [fail, accept]
    default: fail
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
  description:
    - V(fail) if a check failed. The task fails.
    - V(unproven) if no check failed and one that is required is unknown. The task fails unless O(unproven=accept) or in
      check mode.
    - V(pass) if every required check passed.
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
    checks:
      description:
        - Checks of the instance as a whole. V(only_planned_models) fails if a model is loaded that is not planned,
          V(only_engines) if another process of its unit holds memory of a GPU. V(listener), V(release), V(programs),
          V(environment), V(unit) and V(own_process) fail if it is not the planned server that runs and answers.
          V(who_may_connect) fails if the host has rules of who may connect and they are not in force.
        - Each has C(name), C(passed) (null if it is unknown), C(required), C(expected) and C(observed).
      type: list
      elements: dict
    models:
      description:
        - Each has C(name), C(verdict), C(layers_offloaded) (by the log of the engine, and 0 for a model on the CPU),
          C(layers_total), C(tokens_per_second), C(load_seconds) and C(notes) (sentences).
        - Each of its C(checks) has C(name), C(passed) (null if it is unknown), C(required) (false if it is known why
          the check cannot be made), C(expected) and C(observed).
        - Each of its C(devices) has C(uuid), C(layers) (as planned), C(predicted_bytes), C(engine_bytes) (what the
          engine printed before or while it loaded the model, without context and projector), C(observed_bytes) (what
          NVML reports for its process, or for the GPU where that proves it), C(context_bytes) and C(projector_bytes)
          (as planned), C(least_bytes) and C(most_bytes) (the limits of the observed bytes), C(utilization_peak) in
          percent, and C(engine_kv_bytes) and C(engine_compute_bytes) (what the engine allocated by its log, null if
          that does not say it).
      type: list
      elements: dict
diagnosis:
  description: What is wrong or not proven. For each model the most likely cause comes first.
  type: list
  elements: dict
  returned: always
  contains:
    finding:
      description:
        - One of V(one_gpu_carries_all), V(layers_on_cpu), V(cpu_only), V(far_from_predicted), V(foreign_process),
          V(not_loaded), V(engine_died), V(gpu_not_seen), V(answer_no_number), V(answer_one_token),
          V(answer_unprintable), V(vector_wrong), V(replicas_disagree), V(unplanned_model), V(unplanned_process),
          V(open_to_others), V(closed_to_clients) and V(unproven).
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
      description: Name of the model; empty if the finding is about the whole instance.
      type: str
  sample:
    - finding: one_gpu_carries_all
      evidence: >-
        GPU 0 (RTX A6000) holds 64.1 GiB of llama4:16x17b-optimized, which is planned over 2 GPUs; its engine was
        started with --split-mode none, because the model has main_gpu 0
      remedy: >-
        Remove main_gpu from the parameters of llama4:16x17b-optimized (run the role, or create it without), and load it
        again.
      instance: gpu0-1
      model: llama4:16x17b-optimized
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import seen_computing
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.collect import collect
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.planned import plan_problem
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import FAIL, UNPROVEN
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.verdict_text import notes, summary
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError


def main():
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True, "no_log": True},
            "load": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 300.0},
            "unproven": {"type": "str", "choices": ["fail", "accept"], "default": "fail"},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    plan, timeout = options["plan"], options["timeout"]
    problem = plan_problem(plan)
    if problem:
        module.fail_json(msg=problem)
    if timeout <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % timeout)
    try:
        observations = collect(
            plan, load=options["load"] and not module.check_mode, generate=not module.check_mode, timeout=timeout
        )
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except OllamaError as error:
        module.fail_json(msg="The plan cannot be checked: %s." % error)
    if module.check_mode:
        seen_computing.recall(observations)
    else:
        seen_computing.remember(observations)
    result = dataclasses.asdict(check_plan(plan, observations))
    for note in notes(result):
        module.warn(note)
    if result["verdict"] == FAIL:
        module.fail_json(msg=summary(result), **result)
    if result["verdict"] == UNPROVEN:
        # In check mode nothing was loaded or generated, so that there may be nothing to prove it with.
        if options["unproven"] == "fail" and not module.check_mode:
            module.fail_json(msg=summary(result), **result)
        module.warn(summary(result))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
