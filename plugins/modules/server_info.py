#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: server_info
short_description: Read the models and the environment of an Ollama server
version_added: "1.0.0"
description:
  - Returns the version, the models, the loaded models and the environment of one server, or of all servers of a plan.
  - The environment is returned twice, as the unit would set it now and as the running process got it.
author:
  - The gpufleet.ollama contributors (@gpufleet)
requirements:
  - requests, which the collection brings along
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  url:
    description:
      - Address of the server.
    type: str
    default: http://127.0.0.1:11434
  unit:
    description:
      - The systemd unit of the server. Its environment and state are read.
    type: str
  plan:
    description:
      - A plan of M(gpufleet.ollama.placement_info). All its instances are read, and the environment of each process is
        compared with the plan.
    type: dict
  executable:
    description:
      - The program that the servers of O(plan) should run. RV(servers) says whether they do.
      - By default each should run the program of the release that its link in
        C(/usr/local/lib/ollama-multigpu/instances) names.
    type: path
  timeout:
    description:
      - Seconds without an answer after which a server is considered unreachable.
    type: float
    default: 10.0
notes:
  - Reading the environment of a process requires O(ignore:become).
"""

EXAMPLES = r"""
- name: Read the server on the default port
  gpufleet.ollama.server_info:
    unit: ollama.service
  become: true
  register: result

- name: Read the servers of a plan, to see what has to be restarted
  gpufleet.ollama.server_info:
    plan: "{{ plan }}"
  become: true
  register: result
"""

RETURN = r"""
server:
  description: The server at O(url).
  type: dict
  returned: when O(plan) is not given
  contains:
    url:
      description: Its address.
      type: str
    reachable:
      description: Whether it answers.
      type: bool
    error:
      description: Why it does not answer.
      type: str
    version:
      description: Its version.
      type: str
    models:
      description: The models in its store as C(/api/tags) lists them.
      type: list
      elements: dict
    loaded:
      description:
        - The loaded models as C(/api/ps) lists them. A model whose engine was killed is listed until the next request.
      type: list
      elements: dict
    environment:
      description:
        - The variables that Ollama, CUDA and the engine read. C(unit) has them as the unit would set them now,
          C(process) as the running process got them.
      type: dict
    unit:
      description:
        - C(name), C(active_state), C(sub_state), C(main_pid), C(needs_daemon_reload), C(changed_since_start), C(path)
          and C(drop_ins). Null if there is no unit.
        - C(changed_since_start) says whether the unit's file or a drop-in was written after the process started. Null
          if that is unknown.
      type: dict
    executable:
      description: The program that the process runs.
      type: str
servers:
  description:
    - The servers of the plan by the name of the instance, each with the keys of RV(server).
    - C(wanted_executable) is what O(executable) says. C(runs_executable) says whether the process runs it. Null if
      that is unknown.
    - C(differences) in C(environment) lists what differs between the process and the plan. Each entry has the C(name)
      of a variable and the C(difference) V(missing), V(other_than_planned), V(other_than_unit) or V(not_in_unit).
    - C(contents) are the contents of the plan's models by name, with a SHA-256 in place of each text. They are read in
      the store of an instance that does not answer.
    - M(gpufleet.ollama.changes_info) decides from that what is restarted, created and loaded.
  type: dict
  returned: when O(plan) is given
  sample:
    gpu0:
      url: http://127.0.0.1:11434
      reachable: true
      version: 0.32.15
      runs_executable: true
      environment: {differences: [{name: OLLAMA_CONTEXT_LENGTH, difference: other_than_planned}]}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.planned import plan_problem
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.server import (
    hide_secrets,
    read_server,
    read_servers,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import InvalidUrl


def main():
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "unit": {"type": "str"},
            "plan": {"type": "dict", "no_log": True},
            "executable": {"type": "path"},
            "timeout": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )
    params = take_options(module)
    if params["timeout"] <= 0:
        module.fail_json(msg="timeout is %g: give a number of seconds above 0." % params["timeout"])
    try:
        if params["plan"] is None:
            module.exit_json(
                changed=False, server=hide_secrets(read_server(params["url"], params["unit"], params["timeout"]))
            )
        problem = plan_problem(params["plan"])
        if problem:
            module.fail_json(msg=problem)
        module.exit_json(changed=False, servers=read_servers(params["plan"], params["executable"], params["timeout"]))
    except LibraryMissing as missing:
        module.fail_json(**missing.as_failure())
    except InvalidUrl as error:
        module.fail_json(msg="%s." % error)


if __name__ == "__main__":
    main()
