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
  - Computes, from the facts of M(gpufleet.ollama.gpu_facts) and M(gpufleet.ollama.model_info), which models run on which GPUs,
    in which Ollama instances and with which settings, and predicts the memory of every device.
  - Says as well what the given Ollama version would do if left alone, and which settings have no effect on it.
  - Changes nothing, so it can be used in check mode and before anything is installed.
  - Without O(measure) the plan is computed on the controller, and the host is not contacted.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
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
    description:
      - The fact RV(gpufleet.ollama.gpu_facts#module:ansible_facts.gpu_inventory), whole.
    type: dict
    required: true
  models:
    description:
      - The models of this host.
      - All of them are planned together.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the model as Ollama knows it, for example V(llama4:16x17b).
        type: str
        required: true
      model:
        description:
          - What M(gpufleet.ollama.model_info) returned for it as RV(gpufleet.ollama.model_info#module:model).
        type: dict
        required: true
      context_length:
        description:
          - Tokens of context of one request.
          - V(auto) takes the largest that fits.
          - The default is 8192, or what the model was trained for where that is less.
        type: str
      parallel:
        description:
          - Requests served at once by one instance; the KV cache grows with it.
        type: int
        default: 1
      kv_cache_type:
        description:
          - Type of the KV cache.
          - The default is what Ollama takes, V(f16).
        type: str
      flash_attention:
        description:
          - Whether flash attention is forced on or off.
          - The default leaves it to the engine, which uses it where the GPU can.
        type: bool
      ubatch:
        description:
          - Tokens of a physical batch.
          - The default is what this Ollama version chooses.
        type: int
      strategy:
        description:
          - V(single) puts the model on one GPU, V(replicate) on one GPU each in several instances, V(split) over the fewest GPUs that
            hold it, V(spread) over all GPUs even if fewer would do.
          - V(auto) decides between them.
        type: str
        choices: [auto, single, replicate, split, spread]
        default: auto
      replicas:
        description:
          - Number of instances that serve the model.
          - The default is one, or with V(replicate) one for each GPU.
        type: int
      allow_cpu_offload:
        description:
          - Whether layers may stay in the host's memory where the GPUs do not hold the model.
        type: bool
        default: false
      headroom_bytes:
        description:
          - Bytes kept free on every GPU that serves this model.
          - The default is O(headroom_bytes).
        type: int
      keep_alive:
        description:
          - How long the model stays loaded, as Ollama takes it; V(-1) means for ever.
        type: raw
        default: -1
      insecure:
        description:
          - Whether the model is pulled over plain HTTP or without a check of the certificate.
        type: bool
        default: false
      digest:
        description:
          - The manifest's digest to insist on.
        type: str
      optimized:
        description:
          - What the optimized model that is made from this one carries besides the planned parameters.
        type: dict
        suboptions:
          suffix:
            description:
              - Added to the end of the tag.
            type: str
            default: -optimized
          parameters:
            description:
              - Parameters of a Modelfile.
            type: dict
          system:
            description:
              - System message of a Modelfile.
            type: str
          template:
            description:
              - Template of a Modelfile.
            type: str
      parameters:
        description:
          - Further parameters of a Modelfile, the same as O(models[].optimized.parameters), which win.
        type: dict
  ollama_version:
    description:
      - The Ollama version that is to run, for example V(0.32.15).
      - RV(placement.warnings) says so where the placement of that release was not checked, because it is newer or older.
    type: str
    required: true
  selectors:
    description:
      - GPUs to use, by index, UUID or PCI address.
      - The default is all of them.
    type: list
    elements: str
    default: []
  applied_plan:
    description:
      - The plan that is in force on the host, or empty.
      - Memory that its units hold counts as available, GPUs keep the numbers it gave them, and what runs stays where it is
        unless moving it is worth it.
      - RV(placement.warnings) says so where it is damaged or of another structure.
    type: dict
    default: {}
  own_units:
    description:
      - Further systemd units whose GPU memory counts as available, such as an V(ollama.service) that is being adopted.
    type: list
    elements: str
    default: []
  models_dir:
    description:
      - Directory that holds the stores of the instances, an absolute path without blanks and letters special to systemd.
    type: path
    default: /usr/share/ollama/.ollama/models
  environment:
    description:
      - Further environment variables of the services.
      - Those that the plan sets itself, misspelt ones, and those that make its figures void (such as E(LD_PRELOAD)) are refused.
    type: dict
    default: {}
  overhead_bytes:
    description:
      - Measured bytes that one process holds on one GPU beside the model.
      - The default is the figure that the collection knows for the architecture of the GPU.
    type: int
  measure:
    description:
      - Ask the installed engine what the planned models take, instead of relying on the prediction.
      - It is started once for each planned model that is on the host, prints what it would take on each GPU, and is ended before it loads anything.
        For that moment it holds a CUDA context on the GPUs of the instance, so nothing is asked where a GPU has less than 1 GiB free or is in exclusive
        compute mode; what O(applied_plan) holds as measured for the same model, settings and release stays then.
      - Models that are partly on the CPU are not measured, as how the engine divides them depends on the memory that is free when it loads.
      - Works with Ollama 0.30 and later. Where it does not, RV(placement.warnings) says why, and the prediction stays.
      - Run the module on the host itself, with the rights to read the models.
    type: dict
    suboptions:
      engine:
        description:
          - The program llama-server of the installed release.
        type: path
        default: /usr/local/lib/ollama-multigpu/current/lib/ollama/llama-server
      stores:
        description:
          - Models directories in which the models are looked for, besides the stores of the instances and O(models_dir).
        type: list
        elements: path
        default: []
      timeout:
        description:
          - Seconds for each model.
        type: int
        default: 60
  headroom_bytes:
    description:
      - Bytes kept free on every GPU.
    type: int
    default: 1073741824
  listen_address:
    description:
      - Address the instances listen on, an IP address or a host name without a port.
      - IPv6 addresses may be given with or without brackets.
    type: str
    default: 127.0.0.1
  base_port:
    description:
      - Port of the first instance; the others follow.
    type: int
    default: 11434
seealso:
  - module: gpufleet.ollama.gpu_facts
  - module: gpufleet.ollama.model_info
  - module: gpufleet.ollama.placement_check
"""

EXAMPLES = r"""
- name: Read the GPUs
  gpufleet.ollama.gpu_facts:

- name: Read the model's header before any pull
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

- name: Plan with the installed engine's own figures
  gpufleet.ollama.placement_info:
    gpu_inventory: "{{ ansible_facts.gpu_inventory }}"
    ollama_version: 0.32.15
    models:
      - name: llama4:16x17b
        model: "{{ llama4.model }}"
    measure: {}
  become: true
  register: measured

- name: Show which GPUs serve it
  ansible.builtin.debug:
    var: planned.placement.instances
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
      description: Whether every model has its place.
      type: bool
    ollama_version:
      description: The version that was planned for.
      type: str
    engine:
      description: The program that holds the model.
      type: str
      sample: llama-server
    models_dir:
      description: Directory that holds the stores of the instances.
      type: str
    models:
      description:
        - Per model the strategy that was chosen, the reason, the alternatives with their numbers, what is missing and what would help,
          and what this Ollama version would do untouched.
        - The C(capacity) of a model says how many requests it serves at once, what one more slot takes, and how many would fit.
      type: list
      elements: dict
    instances:
      description:
        - Per Ollama instance its name, unit, address, port, GPUs, environment and models with the predicted memory of every device.
        - The C(basis) of what is predicted for a model is V(predicted), or V(measured) where the engine itself said it.
        - The C(total_bytes) of a device are its C(weight_bytes), C(kv_bytes), C(compute_bytes), C(offload_scratch_bytes), C(projector_bytes) and
          C(overhead_bytes). The scratch memory is what the first GPU holds more in its compute buffer where weights stay on the CPU, because
          it computes large batches with copies of them; it is 0 where everything is on GPUs.
        - The C(room_bytes) of a device are the bytes that the GPU has for this model, that is what is available there
          less what the models that were placed before take.
      type: list
      elements: dict
    gpus:
      description: The GPUs that were planned with, in PCI order.
      type: list
      elements: dict
    warnings:
      description: What the user should know.
      type: list
      elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measuring import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.plan import make_plan


def argument_spec():
    """The options, apart from the documentation so that tests can read them."""
    optimized = dict(
        suffix=dict(type="str", default="-optimized"),
        parameters=dict(type="dict"),
        system=dict(type="str"),
        template=dict(type="str"),
    )
    model = dict(
        name=dict(type="str", required=True),
        model=dict(type="dict", required=True),
        context_length=dict(type="str"),
        parallel=dict(type="int", default=1),
        kv_cache_type=dict(type="str"),
        flash_attention=dict(type="bool"),
        ubatch=dict(type="int"),
        strategy=dict(type="str", default="auto", choices=["auto", "single", "replicate", "split", "spread"]),
        replicas=dict(type="int"),
        allow_cpu_offload=dict(type="bool", default=False),
        headroom_bytes=dict(type="int"),
        keep_alive=dict(type="raw", default=-1),
        insecure=dict(type="bool", default=False),
        digest=dict(type="str"),
        optimized=dict(type="dict", options=optimized),
        parameters=dict(type="dict"),
    )
    measure = dict(
        engine=dict(type="path", default="/usr/local/lib/ollama-multigpu/current/lib/ollama/llama-server"),
        stores=dict(type="list", elements="path", default=[]),
        timeout=dict(type="int", default=60),
    )
    return dict(
        gpu_inventory=dict(type="dict", required=True),
        models=dict(type="list", elements="dict", required=True, options=model),
        ollama_version=dict(type="str", required=True),
        selectors=dict(type="list", elements="str", default=[]),
        applied_plan=dict(type="dict", default={}),
        own_units=dict(type="list", elements="str", default=[]),
        models_dir=dict(type="path", default="/usr/share/ollama/.ollama/models"),
        environment=dict(type="dict", default={}),
        overhead_bytes=dict(type="int"),
        measure=dict(type="dict", options=measure),
        headroom_bytes=dict(type="int", default=1024**3),
        listen_address=dict(type="str", default="127.0.0.1"),
        base_port=dict(type="int", default=11434),
    )


def plan(params):
    """Return the result for checked options. Raises PlacementError."""
    options = dict(params)
    measure = options.pop("measure")
    if measure is not None and measure["timeout"] <= 0:
        raise PlacementError("measure.timeout is %d; give at least one second." % measure["timeout"])
    placement = make_plan(**options)
    if measure is not None:
        placement = measure_plan(
            placement,
            options["gpu_inventory"],
            measure["engine"],
            measure["stores"],
            measure["timeout"],
            options["applied_plan"],
        )
    return dict(changed=False, placement=placement)


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        result = plan(module.params)
    except PlacementError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
