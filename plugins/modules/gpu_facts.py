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
  - Returns what NVIDIA's management library knows about every GPU of the host - identity, memory, processes, modes, health and
    how the GPUs are connected.
  - A host without GPUs, or one whose driver is in trouble, is not an error. The state says what was found, with a remedy.
  - The library is asked in a child process, so that a driver that hangs costs O(timeout) seconds and no more.
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
  platform:
    platforms: linux
options:
  timeout:
    description:
      - Seconds after which a driver that does not answer is given up.
      - Without persistence mode a driver takes up to three seconds for each GPU.
    type: float
    default: 30.0
  fail_on_missing:
    description:
      - Fail the task, with the remedy, unless the GPUs could be read and there is at least one.
    type: bool
    default: false
notes:
  - Asking the driver may load its kernel module and create C(/dev/nvidia*).
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
      description: The GPUs of the host. Bytes are integers, and what is unknown is null.
      type: dict
      returned: always
      contains:
        state:
          description:
            - V(ok), V(no_binding) (no Python library), V(no_library) (no driver), V(driver_not_loaded), V(version_mismatch) (driver upgraded, not
              rebooted), V(no_permission), V(no_devices), V(timeout) or V(nvml_error).
          type: str
        reason:
          description: What was seen, where the state is not V(ok).
          type: str
        remedy:
          description: What to do about it.
          type: str
        driver_version:
          description: Version of the driver.
          type: str
        cuda_version:
          description: The newest CUDA version that the driver runs.
          type: str
        nvml_version:
          description: Version of the management library.
          type: str
        gpus:
          description:
            - One entry a GPU, in the driver's order, which may change at a reboot. C(uuid) and C(pci_bus_id) (as in C(/sys/bus/pci/devices)) identify it.
            - C(health) is C(state) V(ok), V(degraded) or V(unusable), and C(reasons).
            - C(processes) have C(pid), C(name), C(used_bytes), C(unit) (the systemd unit, or null) and C(type).
            - C(unsupported) names what this GPU, driver or library does not tell, and C(errors) what failed.
          type: list
          elements: dict
        topology:
          description: For each pair of GPUs C(uuids), C(path) (V(PIX), V(PXB), V(PHB), V(NODE) or V(SYS), as C(nvidia-smi topo -m)) and C(nvlinks).
          type: list
          elements: dict
        unlisted:
          description: PCI addresses of NVIDIA GPUs that the driver does not list.
          type: list
          elements: str
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
          memory: {total_bytes: 51527024640, free_bytes: 50910461952, used_bytes: 616562688, reserved_bytes: 616562688, kind: dedicated}
          processes: []
          health: {state: ok, reasons: []}
          unsupported: []
          errors: {}
      topology: []
      unlisted: []
"""

import platform

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.nvml import read_inventory


def main():
    module = AnsibleModule(
        argument_spec={
            "timeout": {"type": "float", "default": 30.0},
            "fail_on_missing": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    timeout = module.params["timeout"]
    if timeout <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % timeout)
    inventory, missing = read_inventory(timeout)
    # The action plugin takes these away again: it sends the library and runs the module a second time.
    extra = (
        {}
        if missing is None
        else {
            "missing_library": missing.name,
            "missing_reason": missing.detail,
            "python_version": platform.python_version(),
        }
    )
    if module.params["fail_on_missing"] and inventory["state"] != "ok":
        module.fail_json(
            msg="No usable GPU: %s. %s"
            % ((inventory["reason"] or inventory["state"]).rstrip("."), inventory["remedy"]),
            **extra,
        )
    module.exit_json(ansible_facts={"gpu_inventory": inventory}, **extra)


if __name__ == "__main__":
    main()
