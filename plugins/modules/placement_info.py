#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: placement_info
short_description: Plan which model runs on which GPUs of a host
version_added: "1.0.0"
description:
  - Computes from the facts of M(gpufleet.ollama.gpu_facts) and M(gpufleet.ollama.model_info) which models run on which
    GPUs, in which Ollama instances and with which settings, and predicts the memory of every device.
  - Also returns what the given Ollama version would do without these settings, and which settings have no effect on it.
  - Changes nothing, so it can be used in check mode and before anything is installed.
  - Without O(measure) the plan is computed on the controller, and the host is not contacted.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.planned_models
  - gpufleet.ollama.gpu_options
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The module changes nothing.
  platform:
    platforms: posix
options:
  gpu_inventory:
    description: The complete fact RV(gpufleet.ollama.gpu_facts#module:ansible_facts.gpu_inventory).
    type: dict
    required: true
  headers:
    description:
      - What M(gpufleet.ollama.model_info) returned for the models that have no O(models[].model), in any order.
      - A header belongs to the entry with the same name, with or without its tag.
      - If a model has several headers, the last one is used. List those from the host after those from the registry;
        RV(placement.warnings) names models whose headers differ.
    type: list
    elements: dict
    default: []
  adapters:
    description:
      - What M(gpufleet.ollama.model_info) returned for the LoRA adapters in O(models[].optimized.adapters), as
        RV(gpufleet.ollama.model_info#module:adapter).
    type: list
    elements: dict
    default: []
  ollama_version:
    description:
      - The Ollama version to plan for, for example V(0.32.15).
      - RV(placement.warnings) contains a warning if the placement of that version was not verified.
    type: str
    required: true
  applied_plan:
    description:
      - The plan that was applied to the host last, or empty.
      - Memory that its units use counts as available. GPUs keep their numbers. Models keep their GPUs unless another
        place is clearly better.
      - RV(placement.warnings) contains a warning if it is damaged or has another structure.
    type: dict
    default: {}
  own_units:
    description:
      - Further systemd units whose GPU memory counts as available, such as an V(ollama.service) that will be adopted.
    type: list
    elements: str
    default: []
  models_dir:
    description:
      - Directory that contains the stores of the instances. It must be an absolute path without spaces and characters
        that are special to systemd, and not a system directory such as V(/etc) or V(/home).
    type: path
    default: /var/lib/ollama-multigpu
  environment:
    description:
      - Further environment variables of the services.
      - Variables that the plan sets itself, that Ollama does not know, or that would make the plan wrong or load other
        code, such as E(LD_PRELOAD), are refused.
      - E(OLLAMA_CONTEXT_LENGTH), E(OLLAMA_NUM_PARALLEL), E(OLLAMA_KV_CACHE_TYPE) and E(OLLAMA_FLASH_ATTENTION) are
        defaults of the models; a model's own option has precedence. E(OLLAMA_KEEP_ALIVE) applies to requests that name
        no time.
    type: dict
    default: {}
  environment_unchecked:
    description:
      - Environment variables of the services that no known release reads, for example those of a newer release. They
        are passed on.
      - Variables that the plan sets or that would load other code are refused.
      - RV(placement.warnings) says what cannot be promised with each of them.
    type: dict
    default: {}
  measure:
    description:
      - Measure the memory of the planned models with the installed engine, and use these figures instead of the
        predicted ones.
      - The engine is started once for each planned model that is on the host. It prints what it would use on each
        GPU, and is stopped before it loads the model.
      - A task that runs as root starts the engine as the service user C(ollama), with the environment of the instance
        only. If the host does not have this user, nothing is measured.
      - While it runs, the engine has a CUDA context on the GPUs of the instance. It is therefore not started if one
        of them has less than 1 GiB free or is in exclusive compute mode. In that case figures that O(applied_plan)
        contains as measured for the same model, settings and version are kept.
      - Models that are partly on the CPU are not measured, because their split depends on the memory that is free
        when the engine loads them.
      - Requires Ollama 0.30 or later. If a model cannot be measured, RV(placement.warnings) says why, and the
        prediction is kept.
      - With this option the module runs on the host. It must be allowed to read the models.
    type: dict
    suboptions:
      engine:
        description:
          - The program llama-server of the installed Ollama version.
        type: path
        default: /usr/local/lib/ollama-multigpu/current/lib/ollama/llama-server
      stores:
        description:
          - Models directories in which to look for the models, in addition to the stores of the instances and
            O(models_dir).
        type: list
        elements: path
        default: []
      timeout:
        description:
          - Seconds to wait for the engine, for each model.
        type: int
        default: 60
  listen_address:
    description:
      - Address on which the instances listen, an IP address or a host name without a port.
      - IPv6 addresses may be written with or without brackets.
    type: str
    default: 127.0.0.1
  base_port:
    description:
      - Port of the first instance. The other instances use the ports after it.
    type: int
    default: 11434
  advertise_address:
    description:
      - Address of the host that clients use, an IP address or a host name without a port. The plan passes it on to the
        endpoints; nothing listens on it.
      - The default is the address that the instances listen on, or the default address of the host if they listen on
        all addresses.
    type: str
seealso:
  - module: gpufleet.ollama.gpu_facts
  - module: gpufleet.ollama.model_info
  - module: gpufleet.ollama.placement_check
"""

EXAMPLES = r"""
- name: Read the GPUs
  gpufleet.ollama.gpu_facts:

- name: Read the header of the model before it is pulled
  gpufleet.ollama.model_info:
    name: llama4:16x17b
    source: registry
  register: llama4
  delegate_to: localhost

- name: Plan
  gpufleet.ollama.placement_info:
    gpu_inventory: "{{ ansible_facts.gpu_inventory }}"
    ollama_version: 0.32.15
    models:
      - name: llama4:16x17b
        model: "{{ llama4.model }}"
        context_length: 32768
  register: planned

- name: Plan with figures that the installed engine measures
  gpufleet.ollama.placement_info:
    gpu_inventory: "{{ ansible_facts.gpu_inventory }}"
    ollama_version: 0.32.15
    models:
      - name: llama4:16x17b
        model: "{{ llama4.model }}"
    measure: {}
  become: true
  register: measured
"""

RETURN = r"""
placement:
  description: The plan.
  returned: success
  type: dict
  contains:
    plan_version:
      description: Version of this structure.
      type: int
      sample: 1
    feasible:
      description: Whether there is a place for every model.
      type: bool
    ollama_version:
      description: The Ollama version that was planned for.
      type: str
    engine:
      description: The program that loads the models in that version.
      type: str
      sample: llama-server
    models_dir:
      description: Directory that contains the stores of the instances.
      type: str
    models:
      description:
        - One entry per model with the chosen strategy, its reason, the alternatives with their memory, how many bytes
          are missing, remedies, and what this Ollama version would do without the settings of the plan.
        - C(fits) says whether there is a place for the model.
        - The C(capacity) of a model contains how many requests it serves at the same time, the memory of one more
          slot, and how many slots would fit.
      type: list
      elements: dict
    instances:
      description:
        - One entry per Ollama instance with its name, unit, address, port, GPUs, environment and models, and with the
          predicted memory per device.
        - The C(planned_digest) and the C(headers) of a model are the manifest digest and the headers that the plan was
          made from.
        - C(capabilities) of a model are those of its header and its configuration. What only its template says, such as
          C(tools), is missing. Null where they are not known.
        - C(embedding) of a model says whether the engine is started to embed only.
        - C(estimated) of the memory of a model says whether its compute buffers are a careful estimate.
        - The C(basis) of the memory of a model is V(predicted), or V(measured) if O(measure) was used.
        - C(host_total_bytes) of a model is what it takes of the host's memory - C(host_bytes) (weights and KV cache),
          C(host_compute_bytes) (the compute buffer) and what the process itself takes.
        - C(total_bytes) of a device is the sum of C(weight_bytes), C(kv_bytes), C(compute_bytes),
          C(offload_scratch_bytes), C(projector_bytes), C(adapter_bytes), C(draft_bytes) and C(overhead_bytes).
        - C(adapter_bytes) are LoRA adapters, C(draft_bytes) all of what proposes tokens (C(speculation) of the model).
        - C(draft) of a model has the C(name), C(planned_digest) and C(headers) of the draft model that was named.
        - C(offload_scratch_bytes) is the additional compute buffer of the first GPU if weights stay on the CPU,
          because it computes large batches with copies of them. It is 0 if everything is on GPUs.
        - The C(room_bytes) of a device are the bytes that the GPU has for this model, that is what is available there
          less what the models that were placed before take.
      type: list
      elements: dict
    gpus:
      description: The GPUs that the plan may use, in PCI order.
      type: list
      elements: dict
    left_out:
      description:
        - The GPUs of the host that the plan does not use, with C(reason), C(until) (of a cordon) and C(cause), which is
          V(cordon), V(exclude), V(selectors) or V(fault).
      type: list
      elements: dict
    host_memory:
      description:
        - The host's own memory, with C(kind) (V(unified) if GPUs share it, or V(dedicated)), C(total_bytes),
          C(available_bytes) (with what our own units hold), C(swap_bytes), C(headroom_bytes), C(planned_bytes) (what
          all models take) and C(notes) (the warnings about it). Null if the facts do not contain it.
      type: dict
    steps_down:
      description:
        - A sentence for each model that has fewer GPUs, instances or layers on GPUs than by O(applied_plan). They come
          first in RV(placement.warnings) as well. Empty in the plan that is written to the host.
      type: list
      elements: str
    release_changes:
      description:
        - What the release does otherwise than that of the applied plan, with these models on these GPUs, in sentences.
          Empty if it is the same release.
      type: list
      elements: str
    without_effect:
      description:
        - A sentence for each entry of O(cordon) and O(exclude) that is over or names no GPU of this host. Empty in the
          plan that is written to the host.
      type: list
      elements: str
    moved_addresses:
      description: >-
        As C(steps_down), for each model or alias that would not be served any more at an address that it has now.
      type: list
      elements: str
    moved_tags:
      description: >-
        As C(steps_down), for each model that the host has and for which the registry now has another one under the same
        name.
      type: list
      elements: str
    warnings:
      description: Warnings for the user.
      type: list
      elements: str
"""

import datetime
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule, _load_params
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import shown_plan, take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measure_plan import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.headers import with_headers
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.left_alone import cordon_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.model_options import (
    model_options,
    structure_problems,
    value_problems,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.plan import make_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import PlanRequest


def argument_spec() -> dict[str, Any]:
    """Return the options. The action plugin checks them too."""
    measure = dict(
        engine=dict(type="path", default=paths.ENGINE),
        stores=dict(type="list", elements="path", default=[]),
        timeout=dict(type="int", default=60),
    )
    return dict(
        gpu_inventory=dict(type="dict", required=True),
        models=dict(type="list", elements="dict", required=True, options=model_options()),
        headers=dict(type="list", elements="dict", default=[]),
        adapters=dict(type="list", elements="dict", default=[]),
        ollama_version=dict(type="str", required=True),
        selectors=dict(type="list", elements="str"),
        exclude=dict(type="list", elements="str", default=[]),
        cordon=dict(type="list", elements="dict", default=[], options=cordon_options()),
        now=dict(type="str"),
        applied_plan=dict(type="dict", default={}, no_log=True),
        own_units=dict(type="list", elements="str", default=[]),
        models_dir=dict(type="path", default=paths.DEFAULT_MODELS_DIR),
        environment=dict(type="dict", default={}, no_log=True),
        environment_unchecked=dict(type="dict", default={}, no_log=True),
        overhead_bytes=dict(type="int"),
        measure=dict(type="dict", options=measure),
        headroom_bytes=dict(type="int", default=1024**3),
        listen_address=dict(type="str", default="127.0.0.1"),
        base_port=dict(type="int", default=11434),
        host_headroom_bytes=dict(type="int"),
        advertise_address=dict(type="str"),
    )


def time_here() -> str:
    """Return the time of this machine with its zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the module for checked options.

    Raises:
        PlacementError: No plan can be made of them.
    """
    options = dict(params)
    measure = options.pop("measure")
    if measure is not None and measure["timeout"] <= 0:
        raise PlacementError("measure.timeout is %d; give at least one second." % measure["timeout"])
    options["models"] = with_headers(options["models"], options.pop("headers"), options.pop("adapters"))
    options["now"] = options["now"] or time_here()
    placement = make_plan(PlanRequest(**options))
    if measure is not None:
        placement = measure_plan(
            placement,
            options["gpu_inventory"],
            measure["engine"],
            measure["stores"],
            measure["timeout"],
            options["applied_plan"],
        )
    return dict(changed=False, placement=shown_plan(placement))


def better_message(given: dict[str, Any]) -> Optional[str]:
    """Return what is wrong with the options that have keys, in place of Ansible's message; None where it is another."""
    problems = structure_problems(given.get("models"), model_options())
    for name in ("cordon", "measure"):
        if given.get(name) is not None:
            problems += value_problems(given[name], argument_spec()[name], name, name)
    return " ".join(problems) or None


class PlanModule(AnsibleModule):
    """The module; where its options do not fit, it says in our words what is wrong with them."""

    def __init__(self, **kwargs):
        """Read the options. ansible-core looks for keys in a number or a truth value, and ends with a TypeError."""
        try:
            super().__init__(**kwargs)
        except TypeError as error:
            spec = kwargs.pop("argument_spec")
            raw = {name: dict(type="raw", no_log=option.get("no_log", False)) for name, option in spec.items()}
            super().__init__(argument_spec=raw, **kwargs)
            self.fail_json(msg=str(error))

    def fail_json(self, msg, **kwargs):
        """Fail with the better message. What was given is read anew: the check leaves out what does not fit."""
        super().fail_json(msg=better_message(_load_params()) or msg, **kwargs)


def main():
    module = PlanModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        result = plan(take_options(module))
    except PlacementError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
