#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Read the GPUs of a host through NVML
version_added: "1.0.0"
description:
  - Returns what NVIDIA's management library (NVML) reports for every GPU of the host - identity, memory, processes,
    modes, health and how the GPUs are connected.
  - A host without GPUs or with a broken driver is not an error. The state and a remedy are returned.
  - The library is called in a child process, so a driver that hangs delays the task by O(timeout) seconds at most.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - nvidia-ml-py on the host, or on the controller, which sends its copy along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  timeout:
    description:
      - Seconds to wait for the driver.
      - Without persistence mode a driver takes up to three seconds for each GPU.
    type: float
    default: 30.0
  fail_on_missing:
    description:
      - Whether the task fails if the GPUs cannot be read or if there is none.
    type: bool
    default: false
notes:
  - Calling the driver may load its kernel module and create C(/dev/nvidia*).
"""

EXAMPLES = r"""
- name: Read the GPUs
  gpufleet.ollama.gpu_facts:
  become: true

- name: Show the free memory of each GPU
  ansible.builtin.debug:
    msg: "{{ item.uuid }}: {{ item.memory.free_bytes | human_readable }}"
  loop: "{{ ansible_facts.gpu_inventory.gpus }}"
  loop_control:
    label: "{{ item.name }}"

- name: Stop where there is no usable GPU
  gpufleet.ollama.gpu_facts:
    fail_on_missing: true
  become: true
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  type: dict
  returned: always
  contains:
    gpu_inventory:
      description: The GPUs of the host. What is unknown is null.
      type: dict
      returned: always
      contains:
        state:
          description:
            - V(ok), V(no_binding) (no Python library), V(no_library) (no driver), V(driver_not_loaded),
              V(version_mismatch) (the driver was upgraded and the host not rebooted), V(no_permission), V(no_devices),
              V(timeout) or V(nvml_error).
          type: str
        reason:
          description: Why the state is not V(ok).
          type: str
        remedy:
          description: What to do about it.
          type: str
        driver_version:
          description: Version of the driver.
          type: str
        cuda_version:
          description: The newest CUDA version that the driver supports.
          type: str
        nvml_version:
          description: Version of the management library.
          type: str
        gpus:
          description:
            - One entry per GPU, in the order of the driver, which may change with a reboot. C(uuid) and C(pci_bus_id)
              (as in C(/sys/bus/pci/devices)) identify a GPU.
            - C(health) has C(state) (V(ok), V(degraded) or V(unusable)) and C(reasons).
            - Each of C(processes) has C(pid), C(name), C(used_bytes), C(unit) (the systemd unit, or null) and C(type).
            - C(nvlink) has the number of C(links) and of those that are C(active).
            - C(unsupported) lists what this GPU, driver or library does not report. C(errors) lists the calls that
              failed.
          type: list
          elements: dict
        topology:
          description:
            - One entry per pair of GPUs, with C(uuids), C(path) (V(PIX), V(PXB), V(PHB), V(NODE) or V(SYS), as in
              C(nvidia-smi topo -m)), C(nvlinks) (the number of NVLink connections) and C(peer_access) (whether one can
              read the memory of the other without the host - V(ok), or why not).
          type: list
          elements: dict
        unlisted:
          description: PCI addresses of NVIDIA GPUs that the driver does not list.
          type: list
          elements: str
        host_memory:
          description:
            - The host's own memory - C(total_bytes), C(available_bytes) (as the kernel estimates it),
              C(swap_total_bytes), C(swap_free_bytes) and C(units), the systemd units that hold at least 64 MiB of it or
              serve a model, each with C(unit), C(used_bytes) (without what is mapped from files) and C(engines) (how
              many of its processes serve a model).
            - A GPU whose memory has the C(kind) V(unified) shares this memory.
          type: dict
        no_gpu_present:
          description:
            - Whether the kernel says surely that the host has no NVIDIA GPU, because its PCI bus can be read and has
              none. Where this is V(false) and C(state) is not V(ok), GPUs may be there that cannot be read.
          type: bool
        wsl:
          description:
            - Whether the system is WSL. Windows shares out the memory of its GPUs, so that CUDA may get less than the
              free memory of the facts.
          type: bool
  sample:
    gpu_inventory:
      state: ok
      reason: null
      remedy: null
      driver_version: 580.95.05
      cuda_version: "13.0"
      nvml_version: 13.580.95.05
      gpus:
        - uuid: GPU-5b9a7a5e-8f2e-4f0e-9d0a-0d0c1f6f0a01
          index: 0
          pci_bus_id: "0000:18:00.0"
          name: NVIDIA RTX A6000
          compute_capability: "8.6"
          memory:
            total_bytes: 51527024640
            free_bytes: 50910461952
            used_bytes: 616562688
            reserved_bytes: 616562688
            kind: dedicated
          processes: []
          health: {state: ok, reasons: []}
          unsupported: []
          errors: {}
      topology: []
      unlisted: []
      no_gpu_present: false
      wsl: false
      host_memory:
        total_bytes: 540917706752
        available_bytes: 526133493760
        swap_total_bytes: 0
        swap_free_bytes: 0
        units: [{unit: ollama@gpu0.service, used_bytes: 1181116006, engines: 1}]
"""

import platform

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.nvml import read_inventory


def main():
    module = AnsibleModule(
        argument_spec={
            "timeout": {"type": "float", "default": 30.0},
            "fail_on_missing": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    timeout = options["timeout"]
    if timeout <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % timeout)
    inventory, missing = read_inventory(timeout)
    # The action plugin removes these keys: it sends the library and runs the module again.
    extra = (
        {}
        if missing is None
        else {
            "missing_library": missing.name,
            "missing_reason": missing.detail,
            "python_version": platform.python_version(),
        }
    )
    if options["fail_on_missing"] and inventory["state"] != "ok":
        module.fail_json(
            msg="No usable GPU: %s. %s"
            % ((inventory["reason"] or inventory["state"]).rstrip("."), inventory["remedy"]),
            **extra,
        )
    module.exit_json(ansible_facts={"gpu_inventory": inventory}, **extra)


if __name__ == "__main__":
    main()
